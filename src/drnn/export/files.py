"""Files of an export: looked at before the work begins, written whole, opened without running what is in them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from zipfile import ZipFile

FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # torch.load obeys it, torch.export.load would fall back to running code
PROGRAM_PARTS = {  # folder of a .pt2 -> how names there begin; others hold machine code or pickled objects
    "weights": ("weight_", "model"),
    "constants": ("tensor_", "model"),
    "sample_inputs": ("model",),
}


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Where to write instead of ``path``: what lies there in the end takes its place, and nothing where work fails.

    Raises:
        ValueError: ``path`` is a folder.
        OSError: a folder that cannot be made or written to, before any work is done.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give the name of a file in it")
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        yield Path(folder) / path.name
        for file in sorted(Path(folder).iterdir(), reverse=True):  # weights beside a file before the file
            os.replace(file, path.parent / file.name)


def refuse_code(path: Path) -> None:
    """Look at the names in a ``.pt2``: more than a graph and tensors is not what `export_program` writes.

    Raises:
        ValueError: something that would run.
        BadZipFile: no archive.
    """
    with ZipFile(path) as archive:
        for name in archive.namelist():
            _, *folders, last = PurePosixPath(name).parts
            kind = folders[-1] if folders[:1] == ["data"] else None
            if kind is not None and not last.startswith(PROGRAM_PARTS.get(kind, ())):
                raise ValueError(f"it holds {name}, which may run code, and a graph and tensors need not")


@contextmanager
def tensors_only() -> Iterator[None]:
    """Let torch read tensors and plain values, and refuse everything else."""
    before = os.environ.get(FORCE)
    os.environ[FORCE] = "1"
    try:
        yield
    finally:
        os.environ.pop(FORCE)
        if before is not None:
            os.environ[FORCE] = before
