"""Image files of every odd kind, and files that are none."""

import io

import numpy as np
import pytest
from PIL import Image


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


@pytest.fixture
def damage():
    """A call that writes files that are no images into a folder, and returns their names."""

    def write(folder):
        whole = io.BytesIO()
        Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(whole, "PNG")
        (folder / "truncated.png").write_bytes(whole.getvalue()[:900])
        (folder / "text.png").write_text("hello")
        (folder / "empty.jpg").write_bytes(b"")
        return ["truncated.png", "text.png", "empty.jpg"]

    return write
