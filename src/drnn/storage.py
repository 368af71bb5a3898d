"""Files that are there whole or not at all."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

Write = Callable[[Path], object]


def write_together(files: Mapping[Path, Write], without: Iterable[Path] = ()) -> None:
    """Write files that belong together: call each ``write`` with a neighbouring name, flush it to disk, and put them in
    place when all are there.

    Others may read them as the process's umask says; safetensors makes files for their owner alone.

    Args:
        files: what writes each.
        without: files that do not belong to these, and are removed where they are found.

    Raises:
        OSError: the disk is full, the folder is read-only, ...; older files of these names stay as they were.
    """
    parts: dict[Path, Path] = {}
    try:
        for path, write in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = parts[path] = path.with_name(f".{path.name}.part")
            part.touch()
            mode = part.stat().st_mode
            write(part)
            part.chmod(mode)
            with open(part, "rb") as file:
                os.fsync(file.fileno())
        for path, part in parts.items():
            os.replace(part, path)
        for path in without:
            path.unlink(missing_ok=True)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def write_atomically(path: Path, write: Write) -> None:
    """The same for one file: all of it or none."""
    write_together({path: write})


def write_text(path: Path, text: str) -> None:
    """Write text atomically, as UTF-8."""
    write_atomically(path, text_writer(text))


def text_writer(text: str) -> Write:
    """What writes a text as UTF-8."""
    return lambda part: part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically.

    Raises:
        ValueError: a number that is not finite, which JSON does not have.
    """
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")
