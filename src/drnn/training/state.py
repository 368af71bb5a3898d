"""Checkpoints of a running training: written whole, the last two kept, a damaged one passed over."""

import io
import logging
import math
import zipfile
from pathlib import Path

import torch

from drnn.memory import is_lack_of_memory
from drnn.storage import write_atomically

FOLDER, KEPT = "checkpoints", 2
logger = logging.getLogger(__name__)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run folder, oldest first."""
    return sorted((folder / FOLDER).glob("step-*.pt"))


def save_state(folder: Path, step: int, state: dict) -> Path:
    """Write ``state`` after ``step`` updates and drop all but the last two checkpoints up to it.

    One of a later step was passed over when the run went on from an earlier one; it goes too.

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
    there = checkpoints(folder)
    now = there.index(path) + 1
    for other in [*there[now:], *there[: max(0, now - KEPT)]]:
        other.unlink()
    return path


def load_state(folder: Path, logged: float = math.inf) -> dict | None:
    """The newest checkpoint that can be gone on from; None where there is no checkpoint. Warns of each passed over.

    Args:
        folder: the run.
        logged: length of its metrics in bytes; a checkpoint that was made when they were longer is passed over.

    Raises:
        ValueError: there are checkpoints, and none can be gone on from.
        OSError, MemoryError: one cannot be read now, which does not make it a damaged one.
    """
    passed_over = []
    for path in reversed(checkpoints(folder)):
        content = path.read_bytes()
        try:
            state = _read(content)
        except MemoryError:
            raise
        except Exception as error:  # a damaged file may fail in any way
            passed_over.append(f"{path} is damaged ({type(error).__name__})")
            continue
        if state["metrics_bytes"] <= logged:
            for reason in passed_over:
                logger.warning("%s; going on from the one before it", reason)
            return state
        passed_over.append(f"{path} needs {state['metrics_bytes']} bytes of metrics.jsonl, which has {logged}")
    if passed_over:
        raise ValueError(
            f"no checkpoint to go on from: {'; '.join(passed_over)}; remove {folder / FOLDER} to train from the start, "
            "or add --overwrite"
        )
    return None


def _read(content: bytes) -> dict:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:  # torch.load does not compare checksums
        if damaged := archive.testzip():
            raise ValueError(f"{damaged} has a wrong checksum")
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except RuntimeError as error:
        if is_lack_of_memory(error):
            raise MemoryError(str(error)) from error
        raise
    if not isinstance(state, dict) or not isinstance(state.get("metrics_bytes"), int):
        raise TypeError("it holds no state of a run")
    return state
