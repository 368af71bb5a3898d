"""Encoded images in tar files, as WebDataset writes them."""

import tarfile
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from drnn.data.splits import TEST, TRAIN, Record, RecordSplits, check_labels


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
                    if content is None:
                        raise ValueError(f"{member.name} is no file")
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
        ValueError: a damaged shard, a key twice in one, a part without images, a label that has no class, or a
            ``classes.txt`` that is no UTF-8, or has an empty line between others.
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
    classes = _class_names(listed) if listed.is_file() else tuple(str(number) for number in range(highest + 1))
    for where, found in labels.items():
        check_labels(where, found, len(classes))
    train, test = parts.values()
    return RecordSplits(train, test, classes)


def _class_names(path: Path) -> tuple[str, ...]:
    """A name a line: that of label 0 is in the first."""
    try:
        names = [line.strip() for line in path.read_text("utf-8-sig").rstrip().splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8: {error}; save it as that") from error
    if "" in names:
        line = 1 + names.index("")
        raise ValueError(f"{path}, line {line} is empty; labels count lines, so name that class, or take it out")
    return tuple(names)
