"""`predict_files` from Python: images of the size the network is used at, and what is refused before a file is read."""

import pytest
import torch

from drnn import create_model, save_pretrained
from drnn.cli.main import main
from drnn.costs import count_costs
from drnn.models import Preprocessing
from drnn.prediction.images import read_image
from drnn.prediction.predict import predict_files

NAMES = tuple("0123456789")
GREY = Preprocessing((1, 8, 8), (0.5,), (0.5,))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return create_model("dr_resnet_digits").eval()


@pytest.mark.parametrize("side", [8, 12])
def test_images_have_the_size_that_the_network_is_used_at(odd, network, side):
    """Of its preprocessing, as in an exported file; it may differ from what the architecture was designed for."""
    preprocessing = Preprocessing((1, side, side), (0.4,), (0.3,))
    (answer,) = predict_files(network, [odd / "a_rgb.png"], NAMES, preprocessing)
    image = read_image(odd / "a_rgb.png", preprocessing.size)[None]
    with torch.inference_mode():
        logits, record = network.forward_with_gates((image / 255 - 0.4) / 0.3)
    assert answer.confidence == pytest.approx(float(logits.softmax(1).max()), abs=1e-5)
    assert answer.macs == int(count_costs(network, preprocessing.size).macs_per_image(record))


def test_the_command_uses_that_size_too(odd, network, tmp_path, capsys):
    macs = {}
    for side in (8, 16):
        folder = tmp_path / str(side)
        save_pretrained(network, folder, Preprocessing((1, side, side), (0.5,), (0.5,)))
        assert main(["predict", str(folder), str(odd / "a_rgb.png"), "--format", "csv"]) == 0
        macs[side] = int(capsys.readouterr().out.splitlines()[1].split(",")[-2])
    assert 3.5 < macs[16] / macs[8] < 4.1


def test_a_network_in_training_is_refused(odd, network):
    """It would answer by what else is in the batch, and take statistics of it."""
    network.layer2.train()
    with pytest.raises(
        ValueError, match=r"dr_resnet_digits is in training mode, at least in part; call model\.eval\(\)"
    ):
        predict_files(network, [odd / "a_rgb.png"], NAMES, GREY)


def test_too_few_classes_are_refused(odd, network):
    with pytest.raises(ValueError, match="9 classes received for dr_resnet_digits, which has 10"):
        predict_files(network, [odd / "a_rgb.png"], NAMES[:9], GREY)


def test_classes_are_those_of_the_last_layer_there_is(odd, network):
    network.fc = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Linear(network.fc.in_features, 3)).eval()
    (answer,) = predict_files(network, [odd / "a_rgb.png"], ("ant", "bee", "cow"), GREY)
    assert answer.label in ("ant", "bee", "cow")
    with pytest.raises(ValueError, match="10 classes received for dr_resnet_digits, which has 3; name each once"):
        predict_files(network, [odd / "a_rgb.png"], NAMES, GREY)


def test_an_empty_name_is_no_folder(network, tmp_path, capsys):
    """As of a variable that is not set; pathlib takes it for the current folder."""
    save_pretrained(network, tmp_path / "net", GREY)
    assert main(["predict", str(tmp_path / "net"), ""]) == 2
    assert "an empty name received, as of a variable that is not set" in capsys.readouterr().err


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batches_have_an_image_or_more(odd, network, batch_size):
    with pytest.raises(ValueError, match=f"batch_size {batch_size} received; give 1 or more"):
        predict_files(network, [odd / "a_rgb.png"], NAMES, GREY, batch_size)
