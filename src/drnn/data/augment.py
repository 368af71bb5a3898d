"""Augmentation of whole batches where the images already are; all randomness comes from a given generator."""

from dataclasses import dataclass
from functools import cache
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from drnn.data.transfer import to_device

PaddingMode = Literal["zeros", "reflect"]
PADDING_MODES = get_args(PaddingMode)


@dataclass(frozen=True)
class PadCropFlip:
    """Pad, cut out a window of the old size at random, and flip left to right with probability one half.

    Args:
        padding: pixels on every side.
        flip: whether to flip at all.
        mode: what the padding shows: "zeros", black, or "reflect", the picture mirrored at its outermost pixels.

    Shape: uint8 ``(N, C, H, W) -> (N, C, H, W)``; every image has its own window and flip.

    Raises:
        ValueError: a negative padding, another mode, or images that are too small to be reflected.
    """

    padding: int = 4
    flip: bool = True
    mode: PaddingMode = "zeros"

    def __post_init__(self):
        if self.mode not in PADDING_MODES:
            raise ValueError(f"padding_mode {self.mode!r} received; choose {' or '.join(PADDING_MODES)}")
        if self.padding < 0:
            raise ValueError(f"padding {self.padding} received; it is 0 or more")

    def refuse_small(self, height: int, width: int) -> None:
        """Whether images of that size can be padded.

        Raises:
            ValueError: they are too small to be reflected.
        """
        if self.mode == "reflect" and self.padding >= min(height, width):
            raise ValueError(
                f"padding {self.padding} received for images of {height} x {width}; a reflected border is smaller"
            )

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augment a batch."""
        count, _, height, width = images.shape
        self.refuse_small(height, width)
        spread = 2 * self.padding + 1
        draws = to_device(
            torch.randint(spread, (2, count, 1), generator=generator, device=generator.device), images.device
        )
        rows = draws[0] + torch.arange(height, device=images.device)
        columns = draws[1] + torch.arange(width, device=images.device)
        if self.flip:
            flips = to_device(torch.rand(count, 1, generator=generator, device=generator.device), images.device) < 0.5
            columns = torch.where(flips, columns.flip(1), columns)
        if self.mode == "zeros":
            images = torch.nn.functional.pad(images, (self.padding,) * 4)
        else:
            rows, columns = (_mirror(at - self.padding, size) for at, size in ((rows, height), (columns, width)))
        cut = images.permute(0, 2, 3, 1)[
            torch.arange(count, device=images.device)[:, None, None], rows[:, :, None], columns[:, None, :]
        ]
        return cut.permute(0, 3, 1, 2).contiguous()


def _mirror(places: Tensor, size: int) -> Tensor:
    """Places beyond 0..size - 1 turned back at the outermost pixel."""
    return size - 1 - (size - 1 - places.abs()).abs()


@dataclass(frozen=True)
class Cutout:
    """Set a square at a random place, which may reach over the edge, to one colour.

    Args:
        side: of the square, in pixels.
        colour: one value 0..255 a channel.

    Shape: uint8 ``(N, C, H, W) -> (N, C, H, W)``; every image has its own place.

    Source: DeVries & Taylor, "Improved regularization of convolutional neural networks with cutout", 2017.
    """

    side: int
    colour: tuple[int, ...]

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augment a batch."""
        count, _, height, width = images.shape
        inside = []
        for size in (height, width):
            centre = torch.randint(size, (count, 1), generator=generator, device=generator.device)
            start, along = to_device(centre, images.device) - self.side // 2, torch.arange(size, device=images.device)
            inside.append((along >= start) & (along < start + self.side))
        square = (inside[0][:, :, None] & inside[1][:, None, :])[:, None]
        return torch.where(square, _colour(self.colour, images.dtype, images.device), images)


@cache
def _colour(values: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """``(C, 1, 1)``, copied there once: a copy from the host would wait for the device at every batch."""
    with torch.inference_mode(False):  # whoever asks first
        return torch.tensor(values, dtype=dtype, device=device)[:, None, None]


class ChannelStatistics(Protocol):
    """What has the mean and the standard deviation of each channel, as fractions of 255."""

    @property
    def mean(self) -> tuple[float, ...]: ...  # noqa: D102

    @property
    def std(self) -> tuple[float, ...]: ...  # noqa: D102


@dataclass(frozen=True)
class Normalize:
    """uint8 ``(N, C, H, W)`` to float32, each channel less its mean and divided by its standard deviation.

    Args:
        mean: one value a channel, as a fraction of 255.
        std: likewise.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, source: ChannelStatistics) -> "Normalize":
        """By mean and std of a data set, of a network's preprocessing, or of whatever else has both."""
        return cls(source.mean, source.std)

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise a batch."""
        centre, scale = _constants(self.mean, self.std, images.device)
        return (images.float() - centre) * scale


@cache
def _constants(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """On the device once: a step that is recorded as a graph may not copy from the host."""
    with torch.inference_mode(False):  # whoever asks first; gradients go through it for others
        centre, spread = (torch.tensor(values, device=device)[:, None, None] for values in (mean, std))
        return 255 * centre, 1 / (255 * spread)
