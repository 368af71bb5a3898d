"""A data set that is read from files as it goes, by several processes."""

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from io import BytesIO
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from drnn.data.batches import ALONE, EpochPlan, Share, part_of
from drnn.data.dataset import Dataset
from drnn.data.decoding import UnreadableImage, decode_file
from drnn.data.seeds import seed_of
from drnn.data.source import Augmentation
from drnn.data.splits import Record
from drnn.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, SMALL, TEST_RESIZE

if TYPE_CHECKING:
    from torchvision.transforms import v2


@dataclass(frozen=True)
class StreamedDataset:
    """A `Source` over encoded images.

    Training images: a random window of random area and aspect ratio, mirrored, with photometric distortion, as the
    augmentation says. Test images: see `cut_centre`.

    Attributes:
        name: as `drnn.data.load_streamed` knows it.
        train: encoded training images.
        test: encoded test images.
        classes: K names.
        side: of the images it gives, in pixels.
        workers: processes that read and decode; 0 for this one.

    Source: Section 4 of the paper for the test transform and the kinds of augmentation.
    """

    name: str
    train: Sequence[Record]
    test: Sequence[Record]
    classes: tuple[str, ...]
    side: int = 224
    workers: int = 2
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    @property
    def image_size(self) -> tuple[int, int, int]:
        """``(C, H, W)``."""
        return 3, self.side, self.side

    @property
    def num_train(self) -> int:
        """Training images."""
        return len(self.train)

    @property
    def num_test(self) -> int:
        """Test images."""
        return len(self.test)

    def select(self, train_rows: Tensor, test_rows: Tensor | None = None) -> "StreamedDataset":
        """Only these training images, and for the test those training images, where given."""
        test = self.test if test_rows is None else Subset(self.train, test_rows.tolist())  # type: ignore[arg-type]
        return replace(self, train=Subset(self.train, train_rows.tolist()), test=test)  # type: ignore[arg-type]

    def in_memory(self, train: int = 0, test: int = 0) -> Dataset:
        """So many images of each part, spread evenly over it, as the test shows them; 0 for all."""
        kept = []
        for records, count in ((self.train, train), (self.test, test)):
            count = min(count or len(records), len(records))
            rows = [number * len(records) // count for number in range(count)]
            part = replace(self, test=Subset(records, rows))  # type: ignore[arg-type]
            kept += [torch.cat(parts) for parts in zip(*part.test_batches(64), strict=True)]
        return Dataset(self.name, *kept, classes=self.classes, mean=self.mean, std=self.std)

    def to(self, device: torch.device | str) -> "StreamedDataset":
        """Itself: images come to the device batch by batch."""
        return self

    def train_batches(
        self, plan: EpochPlan, augmentation: Augmentation, share: Share = ALONE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `drnn.data.Source`."""
        batches = [
            [(int(row), seed_of(plan.seed, plan.epoch, int(row))) for row in part_of(rows, share)]
            for _, rows in plan.batches(self.num_train)
        ]
        yield from self._load(Decoded(self.train, training_transform(self.side, augmentation)), batches)

    def test_batches(self, batch_size: int, share: Share = ALONE) -> Iterator[tuple[Tensor, Tensor]]:
        """See `drnn.data.Source`."""
        rows = range(share.rank, self.num_test, share.processes)
        batches = [[(row, 0) for row in rows[start : start + batch_size]] for start in range(0, len(rows), batch_size)]
        yield from self._load(Decoded(self.test, evaluation_transform(self.side)), batches)

    def _load(self, images: "Decoded", batches: list[list[tuple[int, int]]]) -> Iterator[tuple[Tensor, Tensor]]:
        loader = DataLoader(
            images, batch_sampler=batches, num_workers=self.workers, pin_memory=torch.cuda.is_available(),
            worker_init_fn=leave_signals_to_the_parent, generator=torch.Generator(),
        )  # type: ignore[arg-type]  # fmt: skip
        try:
            yield from loader
        except ValueError as error:
            if not str(error).startswith("Caught "):
                raise
            raise ValueError(_last_words(error)) from error

    @cached_property
    def test_images(self) -> Tensor:
        """All test images at once, uint8 ``(N, 3, side, side)``."""
        return torch.cat([images for images, _ in self.test_batches(64)])

    @cached_property
    def test_labels(self) -> Tensor:
        """All test labels, int64 ``(N,)``."""
        return torch.tensor([record.label for record in self.test])


def _last_words(error: ValueError) -> str:
    """What an error of another process says, which comes with the lines of code that it passed, and says it last."""
    lines = str(error).rstrip().splitlines()
    behind = 1 + max(number for number, line in enumerate(lines) if line.startswith("  "))
    return "\n".join(lines[behind:]).partition(": ")[2]


@dataclass(frozen=True)
class Decoded(torch.utils.data.Dataset):
    """Images by ``(row, seed)``: decoded, transformed with that seed, uint8 ``(3, side, side)``, and the label."""

    records: Sequence[Record]
    transform: Callable[[Tensor], Tensor]

    def __getitem__(self, place: tuple[int, int]) -> tuple[Tensor, int]:
        row, seed = place
        record = self.records[row]
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            return self.transform(decode(record)), record.label


def decode(record: Record) -> Tensor:
    """An encoded image as uint8 ``(3, H, W)``, whatever its colours, see `drnn.data.decoding.decode_file`.

    Raises:
        ValueError: it cannot be decoded; the message names it.
    """
    try:
        return decode_file(BytesIO(record.content))
    except UnreadableImage as error:
        raise ValueError(f"{record.name} cannot be decoded ({error}); remove or mend it") from error


def training_transform(side: int, augmentation: Augmentation) -> "v2.Transform":
    """Random window, mirror and distortion: uint8 ``(3, H, W) -> (3, side, side)``."""
    from torchvision.transforms import v2  # which takes as long to import as torch itself

    steps: list[torch.nn.Module] = [
        v2.RandomResizedCrop((side, side), scale=(augmentation.min_area, 1.0), antialias=True)
    ]
    if augmentation.flip:
        steps.append(v2.RandomHorizontalFlip())
    if augmentation.distortion:
        steps.append(v2.RandomPhotometricDistort())
    return v2.Compose(steps)


def evaluation_transform(side: int) -> Callable[[Tensor], Tensor]:
    """`cut_centre` for squares: uint8 ``(3, H, W) -> (3, side, side)``."""
    import torchvision.transforms.v2.functional  # noqa: F401  once, before a loader's processes begin

    return partial(cut_centre, size=(side, side))


def cut_centre(image: Tensor, size: tuple[int, int]) -> Tensor:
    """The picture that a network is tested on, and answers for: squeezed to a larger square, the centre cut out.

    Squeezed to 256 x 256 for windows of 224 x 224, in proportion for other sizes; windows up to `SMALL` pixels take all
    of the picture.

    Args:
        image: uint8 ``(C, H, W)``.
        size: of the window, height and width.

    Shape: ``(C, *size)``.

    Source: Section 4 of the paper.
    """
    from torchvision.transforms.v2 import functional

    larger = 1.0 if min(size) <= SMALL else TEST_RESIZE
    squeezed = functional.resize(image, [round(side * larger) for side in size], antialias=True)
    return functional.center_crop(squeezed, list(size))


def leave_signals_to_the_parent(_: int) -> None:
    """A loader's process ends with the run and not by a Ctrl-C of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
