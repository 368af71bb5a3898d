"""Decoding leaves the process's warnings as they are, whatever the number of threads, and is not disturbed by them."""

import io
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from drnn.data.decoding import decode_file

IMAGES, THREADS = 300, 8


def encoded(form, **save):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 24, 3), dtype=np.uint8)).save(buffer, form, **save)
    return buffer.getvalue()


def decoded_by_threads(content):
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(THREADS) as threads:
            return list(threads.map(decode_file, [io.BytesIO(content) for _ in range(IMAGES)]))
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_warnings_of_others_are_heard_after_threads_decoded(form):
    first, *rest = decoded_by_threads(encoded(form))
    assert all(torch.equal(first, other) for other in rest)
    assert not [each for each in warnings.filters if each[:4] == ("ignore", None, UserWarning, None)]
    for category in (UserWarning, Image.DecompressionBombWarning, DeprecationWarning):
        with pytest.raises(category, match="of somebody else"):  # here a warning is an error, see pyproject.toml
            warnings.warn("of somebody else", category, stacklevel=1)


class Watched(io.BytesIO):
    """A file that looks at the filters of warnings whenever it is read."""

    def read(self, *size):
        self.seen = (id(warnings.filters), list(warnings.filters))
        return super().read(*size)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_no_filters_are_set_and_put_back_around_an_image(form):
    """That would undo what another thread has set in the meantime."""
    decode_file(io.BytesIO(encoded(form)))
    before = (id(warnings.filters), list(warnings.filters))
    file = Watched(encoded(form))
    decode_file(file)
    assert file.seen == before == (id(warnings.filters), list(warnings.filters))


@pytest.mark.parametrize("threads", [False, True], ids=["alone", "threads"])
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_damaged_metadata_and_large_pictures_are_read_without_a_warning(form, threads, monkeypatch):
    content = encoded(form, exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0")
    with pytest.warns(UserWarning, match="Corrupt EXIF data"), Image.open(io.BytesIO(content)) as image:
        image.getexif()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 16 * 24 - 1)
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(encoded(form))).close()
    read = decoded_by_threads(content) if threads else [decode_file(io.BytesIO(content))]
    assert {tuple(pixels.shape) for pixels in read} == {(3, 16, 24)}
