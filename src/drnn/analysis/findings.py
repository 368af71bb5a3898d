"""All that was found about one run, as plain arrays and facts, in memory and on disk."""

import csv
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from drnn.storage import write_atomically, write_json, write_text

FACTS = "facts.json"
ARRAYS = "arrays"


@dataclass(eq=False)
class Findings:
    """Facts as JSON keeps them, and arrays in named tables: ``tables[table][column]``.

    ``facts`` has ``run``, ``model``, ``weights`` (the first digits of their SHA-256), ``dataset``, ``images``,
    ``trained`` and ``analysed`` (environments: commit, versions, hardware), and one entry a subject; a subject that
    could not be looked at is in ``left_out`` with the reason.
    """

    facts: dict
    tables: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write facts as JSON, every table as npz, and those whose columns are lists of one length as CSV too.

        Tables of an earlier analysis that are not of this one are removed from the folder of arrays.
        """
        for path in [*(folder / ARRAYS).glob("*.npz"), *(folder / ARRAYS).glob("*.csv")]:
            if path.stem not in self.tables:
                path.unlink()
        for name, table in self.tables.items():
            write_arrays(folder / ARRAYS / f"{name}.npz", table)
            if {column.shape for column in table.values()} == {(len(next(iter(table.values()))),)}:
                write_text(folder / ARRAYS / f"{name}.csv", _csv(table))
        write_json(folder / FACTS, finite(self.facts))

    @classmethod
    def load(cls, folder: Path) -> "Findings":
        """What `save` wrote.

        Raises:
            FileNotFoundError: no findings there.
        """
        if not (folder / FACTS).is_file():
            raise FileNotFoundError(f"{folder} has no {FACTS}; make it with drnn analyze RUN --out {folder}")
        tables = {}
        for path in sorted((folder / ARRAYS).glob("*.npz")):
            with np.load(path) as arrays:
                tables[path.stem] = dict(arrays)
        return cls(json.loads((folder / FACTS).read_text(encoding="utf-8")), tables)


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an npz atomically; nothing in it is pickled."""

    def write(part: Path) -> None:
        with open(part, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    write_atomically(path, write)


def finite(value: Any) -> Any:
    """The same with None for every number that is not finite, which JSON does not have; numpy's scalars made plain.

    Example:
        >>> finite({"a": [np.float64("nan"), np.int64(2)]})
        {'a': [None, 2]}
    """
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    if isinstance(value, np.generic | np.ndarray):
        return finite(value.tolist())
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _csv(table: dict[str, np.ndarray]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*(column.tolist() for column in table.values()), strict=True))
    return text.getvalue()
