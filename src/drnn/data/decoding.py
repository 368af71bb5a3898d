"""How an encoded image becomes pixels: one rule for what a network is trained and tested on, and answers for."""

import re
import threading
import warnings
from contextlib import suppress
from typing import BinaryIO, Literal

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

MAX_PIXELS = 178_956_970  # Pillow's own limit; a file that claims more is refused before it is decoded
TOO_LARGE = f"more than {MAX_PIXELS:,} pixels, the most that is read; scale it down first"
TURNS = {  # what sets a picture upright, by EXIF's orientation; 1 is upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImage(ValueError):
    """What is no usable image; the message says why."""


class _Decoding(threading.local):
    """What a filter of warnings asks whether a message is meant: every one, in a thread that decodes; else none."""

    now = False

    def match(self, message: str) -> bool:
        """As a compiled regular expression is asked."""
        return self.now


DECODING = _Decoding()
# damaged metadata and large pictures, which are read all the same, and torchvision's plans
IGNORED: list[tuple] = [
    ("ignore", DECODING, UserWarning, None, 0),
    ("ignore", DECODING, Image.DecompressionBombWarning, None, 0),
    ("ignore", re.compile("The image decoding"), DeprecationWarning, re.compile("torchvision"), 0),
]


def _ignore_warnings() -> None:
    """Once and for good, as filters that are set and put back around each image get lost between threads."""
    filters: list[tuple] = warnings.filters  # type: ignore[assignment]
    if not all(each in filters for each in IGNORED):
        filters[:0] = IGNORED


def decode_file(file: BinaryIO, mode: Literal["L", "RGB"] = "RGB") -> Tensor:
    """One image, turned upright, transparent parts white, 16 bits scaled to 8, grey ("L") or in colours.

    Whole numbers of 32 bits are taken for 8 bits up to 255, for 16 bits up to 65535.

    Args:
        file: open and seekable, of any format that Pillow knows; the first frame of several.
        mode: "L" or "RGB".

    Shape: uint8 ``(1, H, W)`` or ``(3, H, W)``.

    Raises:
        UnreadableImage: no image, truncated, more than `MAX_PIXELS`, or 32 bits of another range.
    """
    try:
        _ignore_warnings()
        DECODING.now = True
        return _decode(file, mode)
    except UnreadableImage:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableImage(TOO_LARGE) from error
    except UnidentifiedImageError as error:
        raise UnreadableImage("no image of a format that is known") from error
    except Exception as error:  # on damaged files decoders raise whatever they stumble over
        raise UnreadableImage(" ".join(str(error).split()) or type(error).__name__) from error
    finally:
        DECODING.now = False


def _decode(file: BinaryIO, mode: str) -> Tensor:
    with Image.open(file) as image:  # the header alone
        if image.width * image.height > MAX_PIXELS:
            raise UnreadableImage(TOO_LARGE)
        jpeg = image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB")
        if mode == "RGB" and jpeg and _orientation(image) not in TURNS:
            with suppress(ImportError, RuntimeError, ValueError):  # then Pillow decodes it, or says what is wrong
                return _decode_with_torchvision(file)
        image.load()  # which turns some formats by itself
        turn = TURNS.get(_orientation(image))
        shown = _to_eight_bits(image, mode)
        pixels = np.array(shown if turn is None else shown.transpose(turn), dtype=np.uint8)
    return torch.from_numpy(pixels[None] if mode == "L" else pixels.transpose(2, 0, 1))


def _decode_with_torchvision(file: BinaryIO) -> Tensor:
    """About twice as fast as Pillow; its makers mean to move it to another package."""
    from torchvision.io import ImageReadMode, decode_image

    file.seek(0)
    return decode_image(torch.frombuffer(bytearray(file.read()), dtype=torch.uint8), ImageReadMode.RGB)


def _orientation(image: Image.Image) -> int:
    """As its metadata say; upright where they are damaged, as the picture may be whole for all that."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # whatever their parser stumbles over
        return 1


def _to_eight_bits(image: Image.Image, mode: str) -> Image.Image:
    """Any of Pillow's modes to "L" or "RGB"."""
    if image.mode.startswith("I"):
        values, clear = np.asarray(image).astype(np.float64), image.info.get("transparency")
        shown = (values / _step(image, values)).clip(0, 255).round().astype(np.uint8)
        image = Image.fromarray(np.where(values == clear, np.uint8(255), shown) if isinstance(clear, int) else shown)
    elif image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        image = Image.fromarray((values * _scale(values)).clip(0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        shown = image.convert("RGBA")
        paper = Image.new("RGBA", shown.size, "white")
        image = Image.alpha_composite(paper, shown)
    return image.convert(mode)


def _scale(values: np.ndarray) -> float:
    """What makes 8 bits of numbers in floating point, by their range: fractions, or those of 8 or of 16 bits.

    A hundredth beyond it, such as scaling an image leaves, is cut off.
    """
    lowest, highest = float(values.min(initial=0)), float(values.max(initial=0))
    if not -0.01 * max(1.0, highest) <= lowest <= highest <= 1.01 * 65535:
        raise UnreadableImage(
            f"numbers in floating point from {lowest:g} to {highest:g}; save the picture with fractions of 1, or with "
            "8 or 16 bits"
        )
    return 255.0 if highest <= 1.01 else 1.0 if highest <= 1.01 * 255 else 1 / 257


def _step(image: Image.Image, values: np.ndarray) -> int:
    """How much of its whole numbers is one of 8 bits; those of 32 bits tell that by their range alone."""
    if image.mode != "I" or image.format in ("PNG", "PPM"):  # which have 16 bits at most, whatever the mode
        return 257
    lowest, highest = int(values.min(initial=0)), int(values.max(initial=0))
    if lowest < 0 or highest > 65535:
        raise UnreadableImage(f"whole numbers from {lowest} to {highest}; save the picture with 8 or 16 bits")
    return 257 if highest > 255 else 1
