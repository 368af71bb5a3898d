"""Checkpoints of a running training: written whole, the last two kept, a damaged one passed over."""

import logging
import zipfile
from pathlib import Path

import torch

from drnn.storage import write_atomically

FOLDER, KEPT = "checkpoints", 2
logger = logging.getLogger(__name__)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run folder, oldest first."""
    return sorted((folder / FOLDER).glob("step-*.pt"))


def save_state(folder: Path, step: int, state: dict) -> Path:
    """Write ``state`` after ``step`` updates and drop all but the last two checkpoints.

    Args:
        folder: the run.
        step: updates so far.
        state: tensors, numbers, strings, and lists and dicts of them, which ``torch.load(weights_only=True)`` reads.

    Raises:
        OSError: it cannot be written; the earlier checkpoints stay.
    """
    path = folder / FOLDER / f"step-{step:09}.pt"
    try:
        write_atomically(path, lambda part: torch.save(state, part))
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        reason = error.strerror if isinstance(error, OSError) else "the disk may be full"
        raise OSError(
            f"cannot write {path} ({reason}); the checkpoint before it is whole: make room, "
            "or make the folder writable, and run the command again"
        ) from error
    for old in checkpoints(folder)[:-KEPT]:
        old.unlink()
    return path


def load_state(folder: Path) -> dict | None:
    """The newest checkpoint that is whole; None where there is none. Warns of each that is damaged."""
    for path in reversed(checkpoints(folder)):
        try:
            return _read(path)
        except Exception as error:  # a damaged file may fail in any way
            logger.warning(
                "%s is damaged (%s) and passed over; going on from the one before it", path, type(error).__name__
            )
    return None


def _read(path: Path) -> dict:
    with zipfile.ZipFile(path) as archive:  # torch.load does not compare checksums
        if damaged := archive.testzip():
            raise ValueError(f"{damaged} in {path} has a wrong checksum")
    return torch.load(path, map_location="cpu", weights_only=True)
