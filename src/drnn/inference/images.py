"""Image files of any kind as tensors of the shape a network was trained on."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
MAX_PIXELS = 300_000_000  # a file that claims more is refused before it is decoded


class UnreadableImage(ValueError):
    """A file that is no usable image; the message says why."""


def find_images(paths: list[str]) -> Iterator[Path]:
    """Files as named, and every image file below a folder, in order.

    Raises:
        FileNotFoundError: a folder without images.
    """
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
            if not inside:
                raise FileNotFoundError(f"{path} holds no images; known are {', '.join(SUFFIXES)}")
            yield from inside
        else:
            yield path


def read_image(path: Path, size: tuple[int, int, int]) -> Tensor:
    """One image as uint8 ``(C, H, W)``, turned upright, transparent parts white, grey or RGB as the network takes it.

    Its shorter side is scaled to fit, and the middle cut out.

    Args:
        path: the file; the first frame of several.
        size: ``(C, H, W)``, C 1 or 3.

    Raises:
        UnreadableImage: missing, no image, truncated, or more than `MAX_PIXELS`.
    """
    channels, height, width = size
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UnreadableImage(f"{image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are read")
                image.draft("RGB", (4 * width, 4 * height))  # a JPEG is decoded no larger than needed
                upright = ImageOps.exif_transpose(image)
                eight = _to_eight_bits(upright, "L" if channels == 1 else "RGB")
    except UnreadableImage:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableImage(" ".join(str(error).split()).replace(str(path), path.name)) from error
    fitted = ImageOps.fit(eight, (width, height), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(fitted, dtype=np.uint8))
    return pixels[None] if channels == 1 else pixels.permute(2, 0, 1)


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
