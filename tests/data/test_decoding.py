"""Encoded images decoded whatever their colours, and scaled and cut for the test."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from drnn.data.splits import Record
from drnn.data.streamed import cut_centre, decode, evaluation_transform


def picture(mode, size=(9, 7), **save):
    values = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 4), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values, "RGBA").convert(mode).save(buffer, **save)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "save"),
    [
        ("L", {"format": "PNG"}), ("P", {"format": "PNG"}), ("RGBA", {"format": "PNG"}), ("1", {"format": "PNG"}),
        ("CMYK", {"format": "JPEG"}), ("L", {"format": "JPEG"}), ("RGB", {"format": "BMP"}),
        ("RGB", {"format": "TIFF"}), ("RGBA", {"format": "WEBP", "lossless": True}),
        ("P", {"format": "GIF", "save_all": True, "append_images": [Image.new("L", (9, 7))]}),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
def test_images_of_any_colours_are_read(mode, save):
    content = picture(mode, **save)
    pixels = decode(Record("it", content, 0))
    assert (pixels.dtype, pixels.shape) == (torch.uint8, (3, 7, 9))
    with Image.open(io.BytesIO(content)) as image:
        shown = image.convert("RGBA")
    on_white = Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown).convert("RGB")
    assert (pixels.permute(1, 2, 0).int() - torch.from_numpy(np.array(on_white)).int()).abs().max() <= 1


def test_sixteen_bits_are_scaled_to_eight():
    buffer, eight = io.BytesIO(), np.arange(63, dtype=np.uint16).reshape(7, 9) * 4
    Image.fromarray(eight * 257).save(buffer, "PNG")
    pixels = decode(Record("it", buffer.getvalue(), 0))
    assert pixels.dtype == torch.uint8
    assert torch.equal(pixels, torch.from_numpy(eight.astype(np.uint8)).expand(3, 7, 9))


def test_the_transparent_grey_of_sixteen_bits_is_white():
    buffer, grey = io.BytesIO(), np.full((7, 9), 30_000, np.uint16)
    grey[:3], grey[3] = 1000, 1001
    Image.fromarray(grey).save(buffer, "PNG", transparency=1000)
    pixels = decode(Record("it", buffer.getvalue(), 0))
    assert pixels[:, :3].unique().tolist() == [255]
    assert pixels[:, 3].unique().tolist() == [4]
    assert pixels[:, 4:].unique().tolist() == [117]


def floats(values):
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(values, dtype=np.float32)).save(buffer, "TIFF")
    return Record("it.tif", buffer.getvalue(), 0)


@pytest.mark.parametrize(
    ("low", "high", "mean"),
    [(0, 255.4, 127.6), (0, 256, 127.9), (-1e-7, 1, 127.5), (0, 1 + 1e-6, 127.5), (-0.3, 255, 127.4)],
)
def test_what_is_left_beyond_a_range_is_cut_off(low, high, mean):
    ramp = np.linspace(low, high, 16 * 63).reshape(28, 36)
    assert float(decode(floats(ramp)).float().mean()) == pytest.approx(mean, abs=0.3)


@pytest.mark.parametrize("scale", [1 / 255, 1, 257])
def test_fractions_and_floats_of_eight_and_sixteen_bits_are_told_by_their_range(scale):
    eight = np.arange(63).reshape(7, 9) * 4 + 7
    pixels = decode(floats(eight * scale))
    assert torch.equal(pixels, torch.from_numpy(eight.astype(np.uint8)).expand(3, 7, 9))


@pytest.mark.parametrize(
    ("worst", "words"), [(-1000.0, "-1000 to 200"), (70000.0, "0 to 70000"), (np.inf, "inf"), (np.nan, "nan")]
)
def test_floats_of_no_known_range_are_named(worst, words):
    values = np.zeros((7, 9))
    values[1, 2], values[3, 4] = 200.0, worst
    with pytest.raises(ValueError, match=rf"it\.tif cannot be decoded.*{words}"):
        decode(floats(values))


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
@pytest.mark.parametrize("content", [b"", b"no image", picture("RGB", format="PNG")[:60]])
def test_an_unreadable_image_is_named(content):
    with pytest.raises(ValueError, match=r"shelf/7\.png cannot be decoded"):
        decode(Record("shelf/7.png", content, 0))


def test_the_test_image_is_squeezed_and_cut_from_the_centre():
    ramp = torch.arange(256).expand(3, 100, 256).to(torch.uint8)
    cut = evaluation_transform(224)(ramp)
    assert cut.shape == (3, 224, 224)
    assert cut[0, 0].tolist() == list(range(16, 240))


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
