"""Data sets that stay in memory, and their augmentation in whole batches."""

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from drnn.data.augment import Cutout, Normalize, PadCropFlip
from drnn.data.batches import ALONE, EpochPlan, Share
from drnn.data.cifar10 import load_cifar10
from drnn.data.dataset import Dataset, hold_out
from drnn.data.digits import load_digits
from drnn.data.source import Augmentation, Source

__all__ = [
    "ALONE",
    "DATASETS",
    "Augmentation",
    "Cutout",
    "Dataset",
    "EpochPlan",
    "Normalize",
    "PadCropFlip",
    "Share",
    "Source",
    "hold_out",
    "load_dataset",
]

DATASETS: dict[str, Callable[[Path, bool], Dataset]] = {
    "digits": lambda root, download: load_digits(),
    "cifar10": load_cifar10,
}


def load_dataset(name: str, root: str | Path = "data", download: bool = False) -> Dataset:
    """Load a data set by name.

    Args:
        name: "digits" (comes with scikit-learn) or "cifar10".
        root: where its files are.
        download: fetch them into ``root`` where they are not.

    Raises:
        ValueError: no such data set, or damaged files.
        FileNotFoundError: files that are not there.
    """
    if name not in DATASETS:
        near = get_close_matches(name, DATASETS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(DATASETS)}."
        raise ValueError(f"there is no data set {name!r}; {hint}")
    return DATASETS[name](Path(root), download)
