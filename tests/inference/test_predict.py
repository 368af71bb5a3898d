"""Files of every odd kind get an answer or a name, and what each cost."""

import csv
import errno
import io
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms import v2

from drnn.cli.main import main
from drnn.cli.predict import WRITERS
from drnn.data import StreamedDataset
from drnn.data.decoding import MAX_PIXELS, UnreadableImage
from drnn.data.records import Record
from drnn.data.streamed import cut_centre, decode
from drnn.inference.images import read_image
from drnn.inference.predict import Prediction
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


@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_camera_held_upright_stays_upright(tmp_path, channels, ending):
    picture = Image.new("L", (8, 8), 0)
    picture.paste(255, (0, 0, 8, 4))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    picture.save(tmp_path / f"turned.{ending}", exif=exif)
    image = read_image(tmp_path / f"turned.{ending}", (channels, 8, 8)).float()
    assert image[0, 0].mean() < 10 < 200 < image[0, -1].mean()


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


def files_in(shown, kind):
    """The files that were answered for."""
    if kind == "text":
        return [line.split(": ")[0] for line in shown.splitlines()]
    rows = json.loads(shown) if kind == "json" else csv.DictReader(io.StringIO(shown))
    return [row["file"] for row in rows if row["label"]]


KINDS = pytest.mark.parametrize("kind", ["text", "csv", "json"])


@KINDS
@pytest.mark.parametrize("batch_size", ["1", "32"])
def test_a_folder_without_images_is_named_and_the_rest_classified(run, odd, batch_size, kind, capsys):
    (odd / "empty").mkdir()
    names = [str(odd / name) for name in ("a_rgb.png", "empty", "missing.png", "b_grey.png")]
    assert main(["predict", str(run), *names, "--format", kind, "--batch_size", batch_size]) == 1
    shown = capsys.readouterr()
    assert files_in(shown.out, kind) == [names[0], names[3]]
    assert f"{names[1]} skipped: a folder that holds no images; known are .png" in shown.err
    assert f"{names[2]} skipped: " in shown.err


@KINDS
def test_a_name_that_is_no_text_is_shown_escaped(run, odd, kind, capsys):
    name = os.path.join(os.fsencode(odd), b"ab\xffc.png")
    shutil.copy(odd / "a_rgb.png", name)
    assert main(["predict", str(run), os.fsdecode(name), str(odd / "b_grey.png"), "--format", kind]) == 0
    assert files_in(capsys.readouterr().out, kind) == [str(odd / "ab\\xffc.png"), str(odd / "b_grey.png")]


@KINDS
def test_a_name_that_standard_output_cannot_show_is_escaped(run, odd, kind, monkeypatch):
    shutil.copy(odd / "a_rgb.png", odd / "\u00e4.png")
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["predict", str(run), str(odd / "\u00e4.png"), "--format", kind]) == 0
    out.seek(0)
    assert files_in(out.read(), kind) == [str(odd / "\\xe4.png")]


def test_json_is_a_whole_array_whatever_ends_it(capsys):
    def answers(count):
        yield from [Prediction(f"{i}.png", "cat", 0.5, 1, 10) for i in range(count)]
        raise RuntimeError("out of memory")

    for count in (0, 1, 2):
        with pytest.raises(RuntimeError, match="out of memory"):
            WRITERS["json"](answers(count))
        assert [row["file"] for row in json.loads(capsys.readouterr().out)] == [f"{i}.png" for i in range(count)]


def test_fresh_weights_do_not_answer(odd, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, message in (
        (
            "dr_resnet16_cifar",
            "dr_resnet16_cifar is no folder here but the name of a network, whose fresh weights would",
        ),
        ("dr_resnet16", "there is no folder dr_resnet16; give a finished run or a folder of weights"),
        ("runs/digits", "there is no folder runs/digits; give a finished run or a folder of weights"),
    ):
        assert main(["predict", name, str(odd / "a_rgb.png")]) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert message in shown.err


def test_more_pixels_than_are_read_are_refused_before_they_are_decoded(tmp_path):
    file = tmp_path / "huge.pgm"
    for width, height in ((20000, 10000), (MAX_PIXELS + 1, 1)):
        file.write_bytes(f"P5 {width} {height} 255\n".encode())
        with pytest.raises(UnreadableImage, match=r"^more than 178,956,970 pixels.*scale it down first$"):
            read_image(file, (3, 8, 8))


@pytest.mark.parametrize("ending", ["png", "jpg"])
@pytest.mark.parametrize("side", [224, 32])
@pytest.mark.parametrize("shape", [(640, 480), (480, 640), (333, 500), (2400, 1800), (100, 30)])
def test_prediction_and_evaluation_see_the_same_pixels(tmp_path, shape, side, ending):
    file = tmp_path / f"picture.{ending}"
    rows, columns = np.ogrid[: shape[1], : shape[0]]
    Image.fromarray(
        np.stack([rows % 256 + 0 * columns, columns % 256 + 0 * rows, (rows ^ columns) % 256], 2).astype("uint8")
    ).save(file)
    record = Record(file.name, file.read_bytes(), 0)
    tested = StreamedDataset("one", [record], [record], ("a",), side, workers=0).test_images[0]
    answered = read_image(file, (3, side, side))
    assert torch.equal(answered, tested)
    larger = 256 if side == 224 else side
    paper = v2.Compose([v2.Resize((larger, larger), antialias=True), v2.CenterCrop(side)])
    assert torch.equal(tested, paper(decode(record)))


def test_prediction_and_evaluation_decode_alike(odd):
    """Whatever the kind: turned, transparent, in palettes, moving, of 16 bits, ..."""
    picture, exif = Image.open(odd / "a_rgb.png"), Image.Exif()
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        for ending in ("png", "jpg", "webp", "tif"):
            picture.save(odd / f"k_{orientation}.{ending}", exif=exif)
    picture.save(odd / "l_damaged_exif.jpg", exif=b"Exif\0\0nonsense")
    picture.save(odd / "m_moving.gif", save_all=True, append_images=[Image.new("RGB", picture.size)])
    clear = picture.convert("RGBA")
    clear.putalpha(100)
    for ending in ("png", "webp"):
        clear.save(odd / f"n_clear.{ending}")
    files = sorted(odd.iterdir())
    records = [Record(file.name, file.read_bytes(), 0) for file in files]
    tested = StreamedDataset("odd", records, records, ("a",), 32, workers=0).test_images
    for file, pixels in zip(files, tested, strict=True):
        assert torch.equal(read_image(file, (3, 32, 32)), pixels), file.name


def test_a_strip_is_never_scaled_as_a_whole():
    strip = torch.arange(20000).remainder(251).to(torch.uint8).expand(3, 2, 20000)
    with OperationSizes() as largest:
        assert cut_centre(strip, (224, 224)).shape == (3, 224, 224)
    assert largest.elements < 3 * 256 * 256 * 16


class OperationSizes(TorchDispatchMode):
    """How large the largest result of an operation was."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.elements = max(self.elements, result.numel())
        return result


def test_what_cannot_be_opened_below_a_folder_is_named(run, tmp_path, monkeypatch, capsys):
    """A link to nowhere and a folder that may not be read are answered for, and the rest is classified."""
    (tmp_path / "closed").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "good.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "pipe.png")  # opened, it would wait for ever
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert main(["predict", str(run), str(tmp_path)]) == 1
    shown = capsys.readouterr()
    assert shown.out.count("good.png: ") == 1
    assert "link.png skipped: No such file or directory" in shown.err
    assert "closed skipped: a folder that cannot be read: Permission denied" in shown.err
    assert shown.err.count("skipped") == 2
