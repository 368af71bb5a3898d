"""Data sets, in memory or read from files as they go, and their augmentation."""

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from drnn.data.augment import Cutout, Normalize, PadCropFlip
from drnn.data.batches import ALONE, EpochPlan, Share
from drnn.data.cifar10 import load_cifar10
from drnn.data.dataset import Dataset
from drnn.data.digits import load_digits
from drnn.data.records import RECORDS
from drnn.data.source import Augmentation, Source
from drnn.data.split import AnyDataset, held_images, hold_out, limit
from drnn.data.streamed import StreamedDataset

__all__ = [
    "ALONE",
    "DATASETS",
    "AnyDataset",
    "Augmentation",
    "Cutout",
    "Dataset",
    "EpochPlan",
    "Normalize",
    "PadCropFlip",
    "Share",
    "Source",
    "StreamedDataset",
    "held_images",
    "hold_out",
    "limit",
    "load_dataset",
    "load_streamed",
]

DATASETS: dict[str, Callable[[Path, bool], Dataset]] = {
    "digits": lambda root, download: load_digits(),
    "cifar10": load_cifar10,
}


def load_dataset(name: str, root: str | Path = "data", download: bool = False) -> Dataset:
    """Load a data set that stays in memory, by name.

    Args:
        name: "digits" (comes with scikit-learn) or "cifar10".
        root: where its files are.
        download: fetch them into ``root`` where they are not.

    Raises:
        ValueError: no such data set, or damaged files.
        FileNotFoundError: files that are not there.
    """
    return _known(name, DATASETS)(Path(root), download)


def load_streamed(name: str, root: str | Path, side: int, workers: int = 2) -> StreamedDataset:
    """Open a data set that is read from files as it goes.

    Args:
        name: "imagefolder", "huggingface" or "webdataset".
        root: where its files are.
        side: of the images it is to give, in pixels.
        workers: processes that read; 0 for this one.

    Raises:
        ValueError: no such kind, or a data set that is not what it should be.
        FileNotFoundError: files that are not there.
    """
    train, test, classes = _known(name, RECORDS)(Path(root))
    return StreamedDataset(name, train, test, classes, side, workers)


def _known(name: str, among: dict):
    if name not in among:
        names = [*DATASETS, *RECORDS]
        if name in names:
            right = "load_dataset" if name in DATASETS else "load_streamed"
            raise ValueError(f"data set {name!r} received; drnn.data.{right} takes it")
        near = get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(names)}."
        raise ValueError(f"there is no data set {name!r}; {hint}")
    return among[name]
