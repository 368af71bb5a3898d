"""What a run remembers of its data: those of another folder are not taken for them without a word."""

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from drnn.data import Source
from drnn.storage import read_json

DATA = "data.json"


def data_fields(source: Source) -> dict:
    """What a run keeps of its data: the names of the K classes in order, and how many images there are."""
    return {"classes": list(source.classes), "num_train": source.num_train, "num_test": source.num_test}


def require_classes(folder: Path, source: Source) -> None:
    """Whether ``source`` has the classes that the run in ``folder`` was trained on; one without a record is accepted.

    Raises:
        ValueError: other names, or another order of them; or a damaged record.
    """
    _compare_classes(folder, _record(folder), source)


def _compare_classes(folder: Path, record: dict, source: Source) -> None:
    there, here = record.get("classes"), list(source.classes)
    if there is None or there == here:
        return
    kind = "the same classes in another order" if sorted(there) == sorted(here) else "other classes"
    raise ValueError(
        f"{folder} was trained on {kind} than these data have ({source.name}): {_first_difference(there, here)}; "
        "give the data set it was trained on with --data_root"
    )


def require_order(folder: Path, source: Source) -> None:
    """Whether the run in ``folder`` can go on with ``source``, whose images it takes in an order drawn by their number.

    Raises:
        ValueError: as `require_classes`, or another number of training images.
    """
    record = _record(folder)
    _compare_classes(folder, record, source)
    there = record.get("num_train", source.num_train)
    if there != source.num_train:
        raise ValueError(
            f"{folder} was trained on {there} images, and there are {source.num_train} here, which come in another "
            "order; give the data set it was begun on with --data_root, or add --overwrite to train anew"
        )


def _record(folder: Path) -> dict:
    path = folder / DATA
    if not path.is_file():
        return {}
    found = read_json(path)
    classes, count = found.get("classes"), found.get("num_train")
    if not (isinstance(classes, list) and all(isinstance(name, str) for name in classes) and isinstance(count, int)):
        raise ValueError(f"{path} is damaged: it lists no classes, or no num_train; remove it to do without")
    return found


def _first_difference(there: Sequence[str], here: Sequence[str]) -> str:
    pairs = enumerate(zip_longest(there, here))
    number, names = next((number, names) for number, names in pairs if names[0] != names[1])
    old, new = ("missing" if name is None else repr(name) for name in names)
    return f"number {number} is {old} there and {new} here"
