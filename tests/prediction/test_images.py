"""Image files of every odd kind become what the network takes, pixel by pixel as in evaluation, or are named."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from drnn.data import StreamedDataset
from drnn.data.decoding import MAX_PIXELS, UnreadableImage
from drnn.data.splits import Record
from drnn.data.streamed import decode
from drnn.prediction.images import read_image


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


def test_what_is_no_image_is_named(tmp_path, damage):
    for name in [*damage(tmp_path), "missing.png"]:
        with pytest.raises(UnreadableImage):
            read_image(tmp_path / name, (3, 8, 8))


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
