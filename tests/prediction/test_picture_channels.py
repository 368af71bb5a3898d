"""Pictures are grey or in colours, so networks of other channels are told before a file is read."""

import pytest

from drnn import create_model, save_pretrained
from drnn.cli.main import main
from drnn.data.decoding import UnreadableImage
from drnn.models import Preprocessing
from drnn.prediction.images import read_image
from drnn.prediction.predict import predict_files

FORMATS = pytest.mark.parametrize("kind", ["text", "csv", "json"])


@FORMATS
@pytest.mark.parametrize("channels", [2, 4])
def test_a_network_of_other_channels_answers_for_no_file(channels, kind, tmp_path, capsys):
    preprocessing = Preprocessing((channels, 8, 8), (0.5,) * channels, (0.5,) * channels)
    save_pretrained(create_model("dr_resnet_digits", in_chans=channels), tmp_path, preprocessing)
    assert main(["predict", str(tmp_path), str(tmp_path / "missing.png"), "--format", kind]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"a network for images of {channels} channels received; files give 1, grey, or 3, colours" in shown.err
    assert "call the network yourself" in shown.err


def test_it_is_refused_before_the_first_answer_is_asked_for(tmp_path):
    model = create_model("dr_resnet_digits", in_chans=2).eval()
    with pytest.raises(ValueError, match="of 2 channels received"):
        predict_files(
            model,
            iter([tmp_path / "missing.png"]),
            tuple("0123456789"),
            Preprocessing((2, 8, 8), (0.5,) * 2, (0.5,) * 2),
        )


def test_one_picture_is_refused_likewise_and_not_as_an_unreadable_one(tmp_path):
    with pytest.raises(ValueError, match="of 4 channels received") as caught:
        read_image(tmp_path / "missing.png", (4, 8, 8))
    assert not isinstance(caught.value, UnreadableImage)
