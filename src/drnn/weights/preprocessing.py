"""What an image goes through before the network: part of every file that holds one."""

from dataclasses import asdict, dataclass

from drnn.models import Classifier

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """``(pixels / 255 - mean) / std`` of images of ``size``.

    Attributes:
        size: ``(C, H, W)``.
        mean: one value a channel, as a fraction of 255.
        std: likewise.

    Raises:
        ValueError: not one mean and one positive std for each channel.
    """

    size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self):
        for name in ("size", "mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.size) != 3 or not len(self.mean) == len(self.std) == self.size[0] or min(self.std) <= 0:
            raise ValueError(
                f"size {self.size}, mean {self.mean} and std {self.std} received; give (C, H, W), "
                "and C values each of mean and std, std above 0"
            )

    @classmethod
    def usual(cls, model: Classifier) -> "Preprocessing":
        """ImageNet's for networks of its size and three channels; plain fractions for all others."""
        return cls.for_size(model.input_size)

    @classmethod
    def for_size(cls, size: tuple[int, int, int]) -> "Preprocessing":
        """The same by ``(C, H, W)``."""
        if size == (3, 224, 224):
            return cls(size, IMAGENET_MEAN, IMAGENET_STD)
        return cls(size, (0.0,) * size[0], (1.0,) * size[0])

    def to_dict(self) -> dict:
        """Plain values, as JSON takes them."""
        return {name: list(value) for name, value in asdict(self).items()}
