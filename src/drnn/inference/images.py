"""Image files of any kind as tensors of the shape a network was trained on."""

import os
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from drnn.data.decoding import UnreadableImage, decode_file
from drnn.data.streamed import cut_centre

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


def find_images(paths: list[str]) -> Iterator[Path]:
    """Files as named, and every image file below a folder, in order; a folder without images is named itself."""
    for path in map(Path, paths):
        inside = sorted(Path(folder, name) for folder, _, names in os.walk(path) for name in names)
        images = [file for file in inside if file.suffix.lower() in SUFFIXES and os.path.isfile(file)]
        yield from images or [path]


def read_image(path: Path, size: tuple[int, int, int]) -> Tensor:
    """One image as uint8 ``(C, H, W)``, grey or RGB as the network takes it.

    Decoded, scaled and cut as in evaluation, see `drnn.data.decoding.decode_file` and `drnn.data.streamed.cut_centre`.

    Args:
        path: the file.
        size: ``(C, H, W)``, C 1 or 3.

    Raises:
        UnreadableImage: missing, no image, truncated, too many pixels, or a folder.
    """
    if os.path.isdir(path):
        raise UnreadableImage(f"a folder that holds no images; known are {', '.join(SUFFIXES)}")
    channels, height, width = size
    try:
        with open(path, "rb") as file:
            pixels = decode_file(file, "L" if channels == 1 else "RGB")
    except OSError as error:
        raise UnreadableImage(error.strerror or str(error)) from error
    return cut_centre(pixels, (height, width))
