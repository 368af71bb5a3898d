"""Image files of any kind as tensors of the shape that a network takes."""

import os
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from torch import Tensor

from drnn.data.decoding import UnreadableImage, decode_file
from drnn.data.streamed import cut_centre

NO_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}  # formats that Pillow knows, but not to read alone


def find_images(paths: list[str]) -> Iterator[Path]:
    """Files as named, and every image file below a folder, in order; a folder without images is named itself.

    So is one that cannot be read, and a link to nowhere: `read_image` says what is wrong with them. Links to folders
    are followed, unless the folder has been read under another name.
    """
    known = _suffixes()
    for path in map(Path, paths):
        inside, closed = _walk(path)
        images = [file for file in inside if file.suffix.lower() in known and _is_file_or_link(file)]
        yield from [*images, *closed] or [path]


def _suffixes() -> set[str]:
    """Of the pictures that Pillow here opens."""
    registered = Image.registered_extensions()
    formats = {*Image.OPEN, "MPO"} - NO_PICTURES  # MPO is opened as JPEG
    return {suffix for suffix, name in registered.items() if name in formats}


def _walk(root: Path) -> tuple[list[Path], list[Path]]:
    """What is below a folder that is no folder, in order, and folders that cannot be read. Each is read once."""
    inside: list[Path] = []
    closed: list[Path] = []
    read, waiting = set(), [str(root)]
    while waiting:
        top = waiting.pop(0)
        if os.path.realpath(top) in read:
            continue
        for folder, folders, names in os.walk(top, onerror=lambda error: closed.append(Path(error.filename))):
            read.add(os.path.realpath(folder))
            inside += [Path(folder, name) for name in names]
            below = {name: os.path.join(folder, name) for name in sorted(folders)}
            waiting += [path for path in below.values() if os.path.islink(path)]  # after folders of their own name
            folders[:] = [name for name, path in below.items() if os.path.realpath(path) not in read]
    return sorted(inside), closed


def _is_file_or_link(path: Path) -> bool:
    return os.path.isfile(path) or (os.path.islink(path) and not os.path.exists(path))


def check_channels(size: tuple[int, int, int]) -> None:
    """What a network takes must be what files give.

    Args:
        size: ``(C, H, W)`` of its images.

    Raises:
        ValueError: C is neither 1 nor 3.
    """
    if size[0] not in (1, 3):
        raise ValueError(
            f"a network for images of {size[0]} channels received; files give 1, grey, or 3, colours: prepare its "
            "images as tensors and call the network yourself"
        )


def read_image(path: Path, size: tuple[int, int, int]) -> Tensor:
    """One image as uint8 ``(C, H, W)``, grey or RGB as the network takes it.

    Decoded, scaled and cut as in evaluation, see `drnn.data.decoding.decode_file` and `drnn.data.streamed.cut_centre`.

    Args:
        path: the file.
        size: ``(C, H, W)``, C 1 or 3.

    Raises:
        UnreadableImage: missing, no image, truncated, too many pixels, or a folder.
        ValueError: another C.
    """
    check_channels(size)
    if os.path.isdir(path):
        try:
            os.scandir(path).close()
        except OSError as error:
            raise UnreadableImage(f"a folder that cannot be read: {error.strerror}") from error
        raise UnreadableImage("a folder that holds no images; known are .png, .jpg and others that Pillow here opens")
    channels, height, width = size
    try:
        with open(path, "rb") as file:
            pixels = decode_file(file, "L" if channels == 1 else "RGB")
    except OSError as error:
        raise UnreadableImage(error.strerror or str(error)) from error
    return cut_centre(pixels, (height, width))
