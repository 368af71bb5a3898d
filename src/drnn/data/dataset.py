"""A data set that fits in memory: uint8 images and labels, training and test."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from drnn.data.augment import Cutout, PadCropFlip
from drnn.data.batches import ALONE, EpochPlan, Share, part_of
from drnn.data.source import Augmentation
from drnn.data.transfer import to_device


@dataclass(frozen=True)
class Dataset:
    """Images uint8 ``(N, C, H, W)``, labels int64 ``(N,)``, for training and for the test.

    Attributes:
        name: as `drnn.data.load_dataset` knows it.
        classes: K names.
        mean: of each channel over the training images, as a fraction of 255.
        std: likewise.

    Raises:
        ValueError: shapes, types or label values that do not fit together.
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self):
        for part, images, labels in self.parts():
            if images.dtype != torch.uint8 or images.dim() != 4:
                raise ValueError(
                    f"{self.name}: {part} images are {images.dtype} {tuple(images.shape)}; uint8 (N, C, H, W)"
                )
            if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
                raise ValueError(f"{self.name}: {part} labels are {labels.dtype} {tuple(labels.shape)}; int64 (N,)")
            if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(self.classes):
                raise ValueError(f"{self.name}: {part} labels lie outside 0..{len(self.classes) - 1}")
            if len(self.mean) != images.shape[1] or len(self.std) != images.shape[1] or min(self.std) <= 0:
                raise ValueError(
                    f"{self.name}: mean {self.mean} and std {self.std} do not fit {images.shape[1]} channels"
                )

    def parts(self) -> tuple[tuple[str, Tensor, Tensor], ...]:
        """``(name, images, labels)`` of the training and of the test part."""
        return (("training", self.train_images, self.train_labels), ("test", self.test_images, self.test_labels))

    @property
    def image_size(self) -> tuple[int, int, int]:
        """``(C, H, W)``."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width

    @property
    def num_train(self) -> int:
        """Training images."""
        return len(self.train_images)

    @property
    def num_test(self) -> int:
        """Test images."""
        return len(self.test_images)

    def train_batches(
        self, plan: EpochPlan, augmentation: Augmentation, share: Share = ALONE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `drnn.data.Source`; a whole batch at a time, on the device the images are on."""
        steps: list[PadCropFlip | Cutout] = [
            PadCropFlip(augmentation.padding, augmentation.flip, augmentation.padding_mode)
        ]
        if augmentation.cutout:
            steps.append(Cutout(augmentation.cutout, tuple(round(255 * mean) for mean in self.mean)))
        for number, rows in plan.batches(self.num_train):
            rows, generator = to_device(rows, self.train_images.device), plan.generator(number)
            images = self.train_images[rows]
            for step in steps:
                images = step(images, generator)
            yield part_of(images, share), part_of(self.train_labels[rows], share)

    def test_batches(self, batch_size: int, share: Share = ALONE) -> Iterator[tuple[Tensor, Tensor]]:
        """See `drnn.data.Source`."""
        rows = slice(share.rank, None, share.processes)
        yield from zip(self.test_images[rows].split(batch_size), self.test_labels[rows].split(batch_size), strict=True)

    def select(self, train_rows: Tensor, test_rows: Tensor | None = None) -> "Dataset":
        """Only these training images, and for the test those training images, where given."""
        chosen = replace(self, train_images=self.train_images[train_rows], train_labels=self.train_labels[train_rows])
        if test_rows is None:
            return chosen
        return replace(chosen, test_images=self.train_images[test_rows], test_labels=self.train_labels[test_rows])

    def to(self, device: torch.device | str) -> "Dataset":
        """The same on another device."""
        tensors = ("train_images", "train_labels", "test_images", "test_labels")
        return replace(self, **{name: getattr(self, name).to(device) for name in tensors})
