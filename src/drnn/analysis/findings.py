"""All that was found about one run, as plain arrays and facts, in memory and on disk."""

import csv
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from drnn.storage import Write, json_text, text_writer, write_atomically, write_together

FACTS, ARRAYS = "facts.json", "arrays"
FILES = "files"  # of the facts on disk: what belongs to them in the folder of arrays
ENDINGS = (".npz", ".csv")


@dataclass(eq=False)
class Findings:
    """Facts as JSON keeps them, and arrays in named tables: ``tables[table][column]``.

    ``facts`` has ``run``, ``model``, ``weights`` (the first digits of their SHA-256), ``dataset``, ``images``,
    ``trained`` and ``analysed`` (environments: commit, versions, hardware), and one entry a subject; a subject that
    could not be looked at is in ``left_out`` with the reason. A number that is not finite is None.
    """

    facts: dict
    tables: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write facts as JSON, every table as npz, and those whose columns are lists of one length as CSV too.

        All are written or none. The facts on disk list the other files; what the facts of an earlier analysis list,
        and this one does not have, is removed after that, and nothing else is.

        Raises:
            ValueError: an array of Python objects.
            OSError: the folder cannot be written.
        """
        arrays = folder / ARRAYS
        contents: dict[Path, Write] = {}
        for name, table in self.tables.items():
            contents[arrays / f"{name}.npz"] = _npz_writer(table)
            if {column.shape for column in table.values()} == {(len(next(iter(table.values()))),)}:
                contents[arrays / f"{name}.csv"] = text_writer(_csv(table))
        names = [path.name for path in contents]
        contents[folder / FACTS] = text_writer(json_text({**finite(self.facts), FILES: names}))
        write_together(contents, without=[arrays / name for name in _listed(folder) if name not in names])

    @classmethod
    def load(cls, folder: Path) -> "Findings":
        """What `save` wrote.

        Raises:
            FileNotFoundError: no findings there.
            ValueError: facts that are damaged, or list no arrays.
        """
        if not (folder / FACTS).is_file():
            raise FileNotFoundError(f"{folder} has no {FACTS}; make it with drnn analyze RUN --out {folder}")
        try:
            facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
            names = [name for name in facts.pop(FILES) if name.endswith(".npz")]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{folder / FACTS} is damaged, or lists no {FILES}; make it again with drnn analyze RUN --out {folder}"
            ) from error
        tables = {}
        for name in names:
            with np.load(folder / ARRAYS / name) as arrays:
                tables[name.removesuffix(".npz")] = dict(arrays)
        return cls(facts, tables)


def _listed(folder: Path) -> list[str]:
    """Arrays that the facts in a folder list as theirs; none where the facts there are not of an analysis."""
    try:
        names = json.loads((folder / FACTS).read_text(encoding="utf-8"))[FILES]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    if not isinstance(names, list):
        return []
    return [name for name in names if isinstance(name, str) and Path(name).name == name and name.endswith(ENDINGS)]


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an npz atomically; nothing in it is pickled.

    Raises:
        ValueError: an array of Python objects.
    """
    write_atomically(path, _npz_writer(arrays))


def _npz_writer(arrays: dict[str, np.ndarray]) -> Write:
    for name, values in arrays.items():
        if values.dtype.hasobject:  # before numpy 2.2 savez cannot be told not to pickle
            raise ValueError(f"array {name!r} of Python objects received; give numbers, truth values or text")

    def write(part: Path) -> None:
        with open(part, "wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    return write


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
