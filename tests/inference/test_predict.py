"""Files of every odd kind get an answer or a name, and what each cost."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from drnn.cli.main import main
from drnn.inference.images import UnreadableImage, read_image
from drnn.training import find_recipe, train
from drnn.training.checkpoint import load_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "digits"
    train(replace(find_recipe("digits"), epochs=1, threads=1), folder, progress=False)
    return folder


@pytest.fixture
def odd(tmp_path):
    """A folder of odd images, all of them usable."""
    colours = np.random.default_rng(0).integers(0, 255, (24, 40, 3), dtype=np.uint8)
    picture = Image.fromarray(colours)
    picture.save(tmp_path / "a_rgb.png")
    picture.convert("L").save(tmp_path / "b_grey.png")
    picture.convert("P").save(tmp_path / "c_palette.gif")
    picture.convert("RGBA").save(tmp_path / "d_alpha.png")
    picture.convert("CMYK").save(tmp_path / "e_cmyk.jpg")
    Image.fromarray(colours[:, :, 0].astype(np.uint16) * 257).save(tmp_path / "f_16bit.png")
    Image.new("RGB", (1, 1), "red").save(tmp_path / "g_one_pixel.png")
    Image.new("L", (20000, 2), 90).save(tmp_path / "h_wide.png")
    picture.convert("1").save(tmp_path / "i_bits.png")
    Image.fromarray(colours[:, :, 0].astype(np.float32)).save(tmp_path / "j_float.tif")
    return tmp_path


@pytest.mark.parametrize("size", [(3, 32, 32), (1, 8, 8)])
def test_every_kind_becomes_the_networks_shape(odd, size):
    for path in sorted(odd.iterdir()):
        image = read_image(path, size)
        assert (image.dtype, tuple(image.shape)) == (torch.uint8, size), path.name


def test_sixteen_bits_grey_and_palette_show_the_same_picture(odd):
    grey = read_image(odd / "b_grey.png", (1, 24, 40)).float()
    assert (read_image(odd / "a_rgb.png", (1, 24, 40)).float() - grey).abs().max() <= 1
    red = read_image(odd / "f_16bit.png", (1, 24, 40))
    assert torch.equal(red, read_image(odd / "j_float.tif", (1, 24, 40)))
    assert torch.equal(red[0], torch.from_numpy(np.array(Image.open(odd / "a_rgb.png")))[:, :, 0])


def test_transparency_shows_white(tmp_path):
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_image(tmp_path / "clear.png", (3, 8, 8)) == 255).all()


def test_a_camera_held_upright_stays_upright(tmp_path):
    picture = Image.new("L", (8, 8), 0)
    picture.paste(255, (0, 0, 8, 4))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    picture.save(tmp_path / "turned.png", exif=exif)
    image = read_image(tmp_path / "turned.png", (1, 8, 8))
    assert image[0, 0].float().mean() == 0


def damage(folder):
    """Files that are no images."""
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(whole, "PNG")
    (folder / "truncated.png").write_bytes(whole.getvalue()[:900])
    (folder / "text.png").write_text("hello")
    (folder / "empty.jpg").write_bytes(b"")
    return ["truncated.png", "text.png", "empty.jpg"]


def test_what_is_no_image_is_named(tmp_path):
    for name in [*damage(tmp_path), "missing.png"]:
        with pytest.raises(UnreadableImage):
            read_image(tmp_path / name, (3, 8, 8))


def test_good_files_are_classified_bad_ones_named_and_the_exit_code_says_so(run, odd, capsys):
    assert main(["predict", str(run), str(odd), "--format", "json", "--batch_size", "3"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 10
    bad = damage(odd)
    assert main(["predict", str(run), str(odd), "--format", "json", "--batch_size", "3"]) == 1
    shown = capsys.readouterr()
    mixed = json.loads(shown.out)
    assert sorted(row["file"].split("/")[-1] for row in mixed if row["problem"]) == sorted(bad)
    assert all(f"{name} skipped: " in shown.err for name in bad)
    good = [row for row in mixed if not row["problem"]]
    assert [row["label"] for row in good] == [row["label"] for row in rows]
    assert [row["macs"] for row in good] == [row["macs"] for row in rows]


def test_csv_and_text_say_the_same(run, odd, capsys):
    main(["predict", str(run), str(odd), "--format", "csv"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    main(["predict", str(run), str(odd)])
    lines = capsys.readouterr().out.splitlines()
    assert len(rows) == len(lines) == 10
    for row, line in zip(rows, lines, strict=True):
        assert f"{row['file']}: {row['label']}, " in line
        assert f"{int(row['macs']):,} MACs" in line


def test_test_images_saved_as_files_get_the_runs_own_answers(run, tmp_path, capsys):
    model, _, data = load_run(run)
    for i in range(20):
        Image.fromarray(data.test_images[i, 0].numpy()).save(tmp_path / f"{i:02}.png")
    main(["predict", str(run), str(tmp_path), "--format", "json"])
    rows = json.loads(capsys.readouterr().out)
    from drnn.data import Normalize

    with torch.inference_mode():
        logits, record = model.forward_with_gates(Normalize(data.mean, data.std)(data.test_images[:20]))
    assert [row["label"] for row in rows] == [data.classes[i] for i in logits.argmax(1)]
    assert [row["loops"] for row in rows] == record.executed.sum(1).tolist()


def test_a_folder_without_images_is_refused(run, tmp_path, capsys):
    assert main(["predict", str(run), str(tmp_path)]) == 2
    assert "holds no images" in capsys.readouterr().err
