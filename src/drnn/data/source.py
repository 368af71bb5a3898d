"""What training and evaluation ask of a data set, whether it stays in memory or is read as it goes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from drnn.data.augment import ChannelStatistics, PaddingMode
from drnn.data.batches import ALONE, EpochPlan, Share


@dataclass(frozen=True)
class Augmentation:
    """How training images vary.

    Args:
        padding: pixels to pad before a random window of the old size is cut (images in memory).
        padding_mode: what they show: "zeros", black, or "reflect", the picture mirrored at its border (in memory).
        flip: mirror images, each with a probability of one half.
        cutout: side of a square set to the mean grey at a random place, in pixels; 0 for none (images in memory).
        min_area: smallest share of the picture that a random window covers (images from files).
        distortion: vary brightness, contrast, saturation and hue (images from files).
    """

    padding: int = 0
    padding_mode: PaddingMode = "zeros"
    flip: bool = False
    cutout: int = 0
    min_area: float = 0.08
    distortion: bool = False


class Source(ChannelStatistics, Protocol):
    """A data set: K classes, training and test images.

    Attributes:
        name: as `drnn.data.load_dataset` or `drnn.data.load_streamed` knows it.
        classes: K names.
        mean: of each channel, as a fraction of 255.
        std: likewise.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def classes(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def image_size(self) -> tuple[int, int, int]:
        """``(C, H, W)`` of every batch."""
        ...

    @property
    def num_train(self) -> int:
        """Training images."""
        ...

    @property
    def num_test(self) -> int:
        """Test images."""
        ...

    def train_batches(
        self, plan: EpochPlan, augmentation: Augmentation, share: Share = ALONE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's part of each batch: uint8 images ``(N, C, H, W)``, int64 labels ``(N,)``, augmented.

        What an image looks like depends on the plan and not on how many processes share the work.
        """
        ...

    def test_batches(self, batch_size: int, share: Share = ALONE) -> Iterator[tuple[Tensor, Tensor]]:
        """Every ``processes``-th test image in order, from the one numbered ``rank``; none is padded or repeated."""
        ...
