"""What an image goes through before a network: part of every file that holds one."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from operator import index

CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TEST_RESIZE = 256 / 224  # a large test picture is this much larger than the window cut from its centre
SMALL = 64  # pixels; up to here the window takes all of it


@dataclass(frozen=True)
class Preprocessing:
    """``(pixels / 255 - mean) / std`` of images of ``size``.

    Attributes:
        size: ``(C, H, W)``.
        mean: one value a channel, as a fraction of 255.
        std: likewise.

    Raises:
        ValueError: not one finite mean and one finite, positive std for each channel.
    """

    size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self):
        try:
            size, mean, std = tuple(map(index, self.size)), _finite(self.mean), _finite(self.std)
            right = len(size) == 3 and min(size) > 0 and len(mean) == len(std) == size[0] and min(std) > 0
        except (TypeError, ValueError):
            right = False
        if not right:
            raise ValueError(
                f"size {self.size}, mean {self.mean} and std {self.std} received; give (C, H, W), "
                "and C finite values each of mean and std, std above 0"
            )
        for name, values in (("size", size), ("mean", mean), ("std", std)):
            object.__setattr__(self, name, values)

    def to_dict(self) -> dict:
        """Plain values, as JSON takes them."""
        return {name: list(value) for name, value in asdict(self).items()}


def _finite(values: Sequence[float]) -> tuple[float, ...]:
    """Plain numbers; ValueError where one is not finite."""
    numbers = tuple(map(float, values))
    if not all(map(math.isfinite, numbers)):
        raise ValueError
    return numbers
