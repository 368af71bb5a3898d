"""Files of an export: looked at before the work begins, written whole, opened without running what is in them."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZIP_STORED, ZipFile

import torch

from drnn.export.plain_graph import refuse_other_graphs

SETTINGS = {  # torch.load obeys them; torch.export.load would fall back to running code
    "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",
    "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": None,
}
GRAPH = re.compile(r"models/\w+\.json", re.ASCII)
TENSORS = re.compile(  # other names hold machine code or pickled objects
    r"data/weights/(weight_\d+|\w+\.json)|data/constants/(tensor_\d+|\w+\.json)|data/sample_inputs/\w+\.pt|"
    r"extra/[\w.-]+|\.data/\w+|\.?[a-z_]+",
    re.ASCII,
)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Where to write instead of ``path``: what lies there in the end takes its place, and nothing where work fails.

    Raises:
        ValueError: ``path``, or what goes beside it, is a folder.
        OSError: a folder that cannot be made or written to, before any work is done.
    """
    _refuse_folder(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        yield Path(folder) / path.name
        made = sorted(Path(folder).iterdir(), reverse=True)  # weights beside a file before the file
        for file in made:
            _refuse_folder(path.parent / file.name)
        for file in made:
            os.replace(file, path.parent / file.name)


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give the name of a file in it, or move the folder")


def refuse_code(path: Path) -> None:
    """Look into a ``.pt2``: more than a graph and tensors is not what `export_program` writes.

    Names are looked at as zipfile reads them and as torch does, since an archive can be made to mean two things.

    Raises:
        ValueError: something that would run, or that is larger than the file it lies in.
        BadZipFile: no archive.
    """
    with ZipFile(path) as archive:
        parts = archive.infolist()
    for part in parts:
        _refuse_name(part.orig_filename.partition("/")[2])
    if any(part.compress_type != ZIP_STORED for part in parts):
        raise ValueError("it is compressed, and torch.export.save writes plainly")
    if sum(part.file_size for part in parts) > path.stat().st_size:
        raise ValueError("its parts overlap: together they are larger than the file")
    reader = torch._C.PyTorchFileReader(str(path))
    for name in reader.get_all_records():
        _refuse_name(name)
        if GRAPH.fullmatch(name):
            refuse_other_graphs(json.loads(reader.get_record(name)))


def _refuse_name(name: str) -> None:
    if not GRAPH.fullmatch(name) and not TENSORS.fullmatch(name):
        raise ValueError(f"it holds {name!r}, which may run code, and a graph and tensors need not")


@contextmanager
def tensors_only() -> Iterator[None]:
    """Let torch read tensors and plain values, and refuse everything else."""
    before = {name: os.environ.get(name) for name in SETTINGS}
    try:
        _set(SETTINGS)
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
