"""Image files of any kind as tensors of the shape a network was trained on."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from drnn.data.streamed import cut_centre

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
MAX_PIXELS = 178_956_970  # Pillow's own limit; a file that claims more is refused before it is decoded

TOO_LARGE = f"more than {MAX_PIXELS:,} pixels, the most that is read; scale it down first"


class UnreadableImage(ValueError):
    """A file that is no usable image; the message says why."""


def find_images(paths: list[str]) -> Iterator[Path]:
    """Files as named, and every image file below a folder, in order; a folder without images is named itself."""
    for path in map(Path, paths):
        inside = sorted(Path(folder, name) for folder, _, names in os.walk(path) for name in names)
        images = [file for file in inside if file.suffix.lower() in SUFFIXES and os.path.isfile(file)]
        yield from images or [path]


def read_image(path: Path, size: tuple[int, int, int]) -> Tensor:
    """One image as uint8 ``(C, H, W)``, turned upright, transparent parts white, grey or RGB as the network takes it.

    Scaled and cut as in evaluation, see `drnn.data.streamed.cut_centre`.

    Args:
        path: the file; the first frame of several.
        size: ``(C, H, W)``, C 1 or 3.

    Raises:
        UnreadableImage: missing, no image, truncated, more than `MAX_PIXELS`, or a folder.
    """
    if os.path.isdir(path):
        raise UnreadableImage(f"a folder that holds no images; known are {', '.join(SUFFIXES)}")
    channels, height, width = size
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UnreadableImage(TOO_LARGE)
                upright = ImageOps.exif_transpose(image)
                eight = _to_eight_bits(upright, "L" if channels == 1 else "RGB")
    except UnreadableImage:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableImage(TOO_LARGE) from error
    except Exception as error:  # on damaged files decoders raise whatever they stumble over
        reason = " ".join(str(error).split()).replace(str(path), path.name)
        raise UnreadableImage(reason or type(error).__name__) from error
    pixels = torch.from_numpy(np.array(eight, dtype=np.uint8))
    return cut_centre(pixels[None] if channels == 1 else pixels.permute(2, 0, 1), (height, width))


def _to_eight_bits(image: Image.Image, mode: str) -> Image.Image:
    """Any of Pillow's modes to "L" or "RGB"."""
    if image.mode.startswith("I;16") or image.mode == "I":
        values = np.asarray(image).astype(np.float64)
        image = Image.fromarray((values / 257).clip(0, 255).round().astype(np.uint8))
    elif image.mode == "F":
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        scale = 255.0 if values.max(initial=0) <= 1 else 1.0
        image = Image.fromarray((values * scale).clip(0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        shown = image.convert("RGBA")
        paper = Image.new("RGBA", shown.size, "white")
        image = Image.alpha_composite(paper, shown)
    return image.convert(mode)
