"""Pictures of whole numbers above 8 bits: those of 16 bits by their format, those of 32 by their range."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from drnn.data.decoding import UnreadableImage, decode_file

EIGHT = np.arange(63, dtype=np.uint8).reshape(7, 9) * 4


def encoded(values, form, **save):
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, form, **save)
    return buffer.getvalue()


def decoded(content):
    return decode_file(io.BytesIO(content), "L")[0]


@pytest.mark.parametrize("scale", [1, 257], ids=["8-bit-range", "16-bit-range"])
def test_thirty_two_bits_are_read_by_their_range(scale):
    content = encoded(EIGHT.astype(np.int32) * scale, "TIFF")
    with Image.open(io.BytesIO(content)) as image:
        assert image.mode == "I"
    assert torch.equal(decoded(content), torch.from_numpy(EIGHT))


@pytest.mark.parametrize(("value", "shown"), [(-1, "-1 to 248"), (65536, "0 to 65536"), (2**31 - 1, "0 to 2147483647")])
def test_a_range_that_no_picture_has_is_named(value, shown):
    values = EIGHT.astype(np.int32)
    values[0, 0 if value < 0 else 1] = value
    with pytest.raises(UnreadableImage, match=f"^whole numbers from {shown}; save the picture with 8 or 16 bits$"):
        decoded(encoded(values, "TIFF"))


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_a_dark_picture_of_sixteen_bits_stays_dark(form):
    """Whatever mode it is opened in: PPM is "I" in every Pillow, PNG in older ones."""
    if form == "PPM":
        content = b"P5 9 7 65535\n" + EIGHT.astype(">u2").tobytes()
        with Image.open(io.BytesIO(content)) as image:
            assert image.mode == "I"
    else:
        content = encoded(EIGHT.astype(np.uint16), form)
    assert decoded(content).max() == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_read_by_the_same_rule(orientation):
    """Turned in whole numbers, it would have lost its format."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = [decoded(encoded(values, "TIFF", exif=exif)) for values in (EIGHT, EIGHT.astype(np.int32))]
    assert torch.equal(*turned)
    dark = encoded(EIGHT.astype(np.uint16), "PNG", exif=exif)
    assert decoded(dark).max() == 1
