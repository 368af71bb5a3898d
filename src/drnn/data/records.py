"""Where images in files come from: a folder a class, a Hugging Face data set, or tar files as WebDataset writes them.

Each is a sequence of ``(name, encoded bytes, label)``, read by number, so that an epoch can go on anywhere.
"""

import tarfile
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import accumulate
from pathlib import Path
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


@dataclass(frozen=True)
class FolderRecords(Sequence):
    """Image files and their labels."""

    samples: list[tuple[str, int]]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index):
        path, label = self.samples[index]
        return Record(path, Path(path).read_bytes(), label)


def image_folder(root: Path) -> RecordSplits:
    """``root/train/CLASS/*`` and ``root/val/CLASS/*`` (or ``validation``, or ``test``), as ImageNet is unpacked.

    Raises:
        FileNotFoundError: a part is not there, or holds no images.
        ValueError: the parts differ in their classes.
    """
    from torchvision.datasets import ImageFolder

    parts = []
    for names in (TRAIN, TEST):
        folder = next((root / name for name in names if (root / name).is_dir()), None)
        if folder is None:
            raise FileNotFoundError(f"{root} has no folder {' or '.join(names)}; images lie in {names[0]}/CLASS/")
        parts.append(ImageFolder(str(folder)))
    train, test = parts
    if train.classes != test.classes:
        differing = sorted(set(train.classes) ^ set(test.classes))
        raise ValueError(f"{root}: training and test part differ in {len(differing)} classes, first {differing[:3]}")
    return RecordSplits(FolderRecords(train.samples), FolderRecords(test.samples), tuple(train.classes))


@dataclass(frozen=True)
class HuggingFaceRecords(Sequence):
    """One split, its images left encoded."""

    split: Sequence[dict]
    image: str
    label: str

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index):
        row = self.split[index]
        encoded = row[self.image]
        return Record(encoded["path"] or f"row {index}", encoded["bytes"], int(row[self.label]))


def hugging_face(root: Path) -> RecordSplits:
    """A data set on disk, as ``save_to_disk`` of ``datasets`` (extra ``hub``) wrote it: an image and a label column.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: ``datasets`` is not installed, a split or a column is missing, a split is empty, or a row lacks its
            image, its label or a class for it.
    """
    try:
        datasets = import_module("datasets")
    except ImportError as error:
        raise ValueError("Hugging Face datasets is not installed; pip install 'drnn[hub]'") from error
    found = datasets.load_from_disk(str(root))
    if not isinstance(found, datasets.DatasetDict):
        raise ValueError(f"{root} holds one split; save a DatasetDict with a training and a test part")
    splits = {}
    for names in (TRAIN, TEST):
        name = next((name for name in names if name in found), None)
        if name is None:
            raise ValueError(f"{root} has the splits {', '.join(found)}; one of {', '.join(names)} is needed")
        splits[f"the split {name!r} of {root}"] = found[name]
    parts, classes = [], {}
    for where, split in splits.items():
        image, label = (_column(where, split.features, kind) for kind in (datasets.Image, datasets.ClassLabel))
        classes[where] = tuple(split.features[label].names)
        first = next(iter(classes))
        if classes[where] != classes[first]:
            raise ValueError(
                f"classes of {where} are {', '.join(classes[where])}, those of {first} {', '.join(classes[first])}; "
                "give both the same names in the same order and save the set again"
            )
        encoded = split.cast_column(image, datasets.Image(decode=False))
        images, labels = encoded.data.column(image), encoded[label][:]
        missing = images.flatten()[images.type.get_field_index("bytes")].null_count, labels.count(None)
        if any(missing):
            raise ValueError(
                f"{where} has {missing[0]} rows without an image and {missing[1]} without a label; "
                "leave them out and save the set again"
            )
        _check_labels(where, labels, len(classes[where]))
        parts.append(HuggingFaceRecords(encoded, image, label))
    train, test = parts
    return RecordSplits(train, test, next(iter(classes.values())))


def _column(where: str, features: dict, kind: type) -> str:
    names = [name for name, feature in features.items() if isinstance(feature, kind)]
    if len(names) != 1:
        raise ValueError(f"{where} has {len(names)} columns of type {kind.__name__}; exactly one is needed")
    return names[0]


class TarRecords(Sequence):
    """Shards: in each, pairs ``KEY.jpg`` (or png, webp, ...) and ``KEY.cls``, the label as a decimal number.

    Their headers are read once, the contents when asked for.
    """

    def __init__(self, shards: list[Path]):
        self.shards, self.places = shards, [_index(shard) for shard in shards]
        self.ends = list(accumulate(len(places) for places in self.places))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def __getitem__(self, index):
        shard = bisect_right(self.ends, index)
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} asked of {len(self)}")
        name, offset, size, label = self.places[shard][index - (self.ends[shard - 1] if shard else 0)]
        with open(self.shards[shard], "rb") as file:
            file.seek(offset)
            return Record(f"{self.shards[shard]}:{name}", file.read(size), label)


def _index(shard: Path) -> list[tuple[str, int, int, int]]:
    images, labels, repeated = {}, {}, set()
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                key, _, ending = member.name.rpartition(".")
                if ending == "cls":
                    content = archive.extractfile(member)
                    assert content is not None
                    repeated |= {key} & labels.keys()
                    labels[key] = int(content.read())
                elif member.isfile() and ending.lower() in ("jpg", "jpeg", "png", "webp", "gif"):
                    repeated |= {key} & images.keys()
                    images[key] = (member.name, member.offset_data, member.size)
    except (tarfile.TarError, ValueError) as error:
        raise ValueError(f"{shard} is damaged or no uncompressed tar of images and .cls labels: {error}") from error
    if repeated:
        raise ValueError(f"{shard}: {len(repeated)} keys occur twice, first {sorted(repeated)[:3]}; rename the entries")
    if odd := sorted(images.keys() ^ labels.keys()):
        raise ValueError(f"{shard}: {len(odd)} images without a label or labels without an image, first {odd[:3]}")
    return [(*images[key], labels[key]) for key in sorted(images)]


def web_dataset(root: Path) -> RecordSplits:
    """``root/train-*.tar`` and ``root/val-*.tar`` (or ``validation-``, ``test-``); class names in ``root/classes.txt``.

    Without that file the classes are the numbers up to the highest label.

    Raises:
        FileNotFoundError: no shards of a part.
        ValueError: a damaged shard, a key twice in one, a part without images, or a label that has no class.
    """
    parts = {}
    for names in (TRAIN, TEST):
        found = ((f"{root}/{name}-*.tar", sorted(root.glob(f"{name}-*.tar"))) for name in names)
        where, shards = next((each for each in found if each[1]), ("", []))
        if not shards:
            raise FileNotFoundError(f"{root} has no {' or '.join(f'{name}-*.tar' for name in names)}")
        parts[where] = TarRecords(shards)
    labels = {where: [label for places in part.places for *_, label in places] for where, part in parts.items()}
    listed, highest = root / "classes.txt", max((max(found) for found in labels.values() if found), default=-1)
    classes = listed.read_text("utf-8").split("\n") if listed.is_file() else [str(n) for n in range(highest + 1)]
    classes = tuple(name for name in classes if name)
    for where, found in labels.items():
        _check_labels(where, found, len(classes))
    train, test = parts.values()
    return RecordSplits(train, test, classes)


def _check_labels(part: str, labels: Sequence[int], num_classes: int) -> None:
    """ValueError, which names the part, where it holds no images or a label that has no class."""
    if not labels:
        raise ValueError(f"{part} holds no images; put some there, or leave the part out")
    if wrong := [label for label in (min(labels), max(labels)) if not 0 <= label < num_classes]:
        raise ValueError(
            f"{part} holds the label {wrong[0]}, and the {num_classes} classes are 0..{num_classes - 1}; mend it, or "
            "take a part whose labels are known"
        )


RECORDS: dict[str, Callable[[Path], RecordSplits]] = {
    "imagefolder": image_folder,
    "huggingface": hugging_face,
    "webdataset": web_dataset,
}
