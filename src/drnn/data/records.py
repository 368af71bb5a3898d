"""Where images in files come from: a folder a class, a Hugging Face data set, or tar files as WebDataset writes them.

Each is a sequence of ``(name, encoded bytes, label)``, read by number, so that an epoch can go on anywhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from drnn.data.splits import TEST, TRAIN, Record, RecordSplits, check_labels
from drnn.data.tars import web_dataset


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
    parts, classes, first = [], {}, next(iter(splits))
    for where, split in splits.items():
        image, label = (_column(where, split.features, kind) for kind in (datasets.Image, datasets.ClassLabel))
        classes[where] = tuple(split.features[label].names)
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
        check_labels(where, labels, len(classes[where]))
        parts.append(HuggingFaceRecords(encoded, image, label))
    train, test = parts
    return RecordSplits(train, test, classes[first])


def _column(where: str, features: dict, kind: type) -> str:
    names = [name for name, feature in features.items() if isinstance(feature, kind)]
    if len(names) != 1:
        raise ValueError(f"{where} has {len(names)} columns of type {kind.__name__}; exactly one is needed")
    return names[0]


RECORDS: dict[str, Callable[[Path], RecordSplits]] = {
    "imagefolder": image_folder,
    "huggingface": hugging_face,
    "webdataset": web_dataset,
}
