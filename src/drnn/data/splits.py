"""Encoded images and the two parts of a data set that is made of them."""

from collections.abc import Sequence
from typing import NamedTuple

TRAIN, TEST = ("train",), ("val", "validation", "test")


class Record(NamedTuple):
    """An encoded image: where it is from, its bytes, its label."""

    name: str
    content: bytes
    label: int


class RecordSplits(NamedTuple):
    """A data set's two parts, and its K class names."""

    train: Sequence[Record]
    test: Sequence[Record]
    classes: tuple[str, ...]


def check_labels(part: str, labels: Sequence[int], num_classes: int) -> None:
    """ValueError, which names the part, where it holds no images or a label that has no class."""
    if not labels:
        raise ValueError(f"{part} holds no images; put some there, or leave the part out")
    if wrong := [label for label in (min(labels), max(labels)) if not 0 <= label < num_classes]:
        raise ValueError(
            f"{part} holds the label {wrong[0]}, and the {num_classes} classes are 0..{num_classes - 1}; mend it, or "
            "take a part whose labels are known"
        )
