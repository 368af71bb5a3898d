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
        OSError: the disk is full, the folder is read-only, a folder has the name of a file, ...; older files of these
            names stay as they were.
    """
    parts: dict[Path, Path] = {}
    without = list(without)
    for path in (*files, *map(_part, files), *without):
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder where a file belongs; move it, or name another place")
    try:
        for path, write in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = parts[path] = _part(path)
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


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def refuse_place(path: Path) -> None:
    """Before long work: whether a file can be written at ``path``, its folders made. Nothing is made yet.

    Raises:
        OSError: it is a folder, a file stands where a folder has to be, or the place is closed to this user.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file in it")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise NotADirectoryError(f"{path} cannot be written, as {above} is no folder; name another place")
    if not os.access(above, os.W_OK | os.X_OK):
        raise PermissionError(f"{path} cannot be written, as {above} is closed to you; name another place")


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
    write_text(path, json_text(value))


def read_json(path: Path) -> dict:
    """The fields of a JSON file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged one, or one that holds something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} is damaged: it holds no fields")
    return values


def json_text(value: object) -> str:
    """JSON as all files here have it.

    Raises:
        ValueError: a number that is not finite.
    """
    return json.dumps(value, indent=1, allow_nan=False) + "\n"
