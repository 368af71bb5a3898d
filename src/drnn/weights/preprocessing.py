"""What an image goes through before the network: part of every file that holds one."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from operator import index

from drnn.data import cifar10, streamed
from drnn.models import Classifier

USUAL: dict[tuple[int, ...], tuple[tuple[float, ...], tuple[float, ...]]] = {  # mean and std by size
    (3, 32, 32): (cifar10.MEAN, cifar10.STD),
    (3, 224, 224): (streamed.MEAN, streamed.STD),  # ImageNet's
}


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

    @classmethod
    def usual(cls, model: Classifier) -> "Preprocessing":
        """CIFAR-10's or ImageNet's for networks of their size and three channels; plain fractions for all others."""
        return cls.for_size(model.input_size)

    @classmethod
    def for_size(cls, size: tuple[int, int, int]) -> "Preprocessing":
        """The same by ``(C, H, W)``."""
        mean, std = USUAL.get(tuple(size), ((0.0,) * size[0], (1.0,) * size[0]))
        return cls(size, mean, std)

    def to_dict(self) -> dict:
        """Plain values, as JSON takes them."""
        return {name: list(value) for name, value in asdict(self).items()}


def _finite(values: Sequence[float]) -> tuple[float, ...]:
    """Plain numbers; ValueError where one is not finite."""
    numbers = tuple(map(float, values))
    if not all(map(math.isfinite, numbers)):
        raise ValueError
    return numbers
