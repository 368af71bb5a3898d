"""One process at a time trains in a run folder."""

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None

LOCK = ".lock"
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # network file systems that have none
logger = logging.getLogger(__name__)
_held: set[int] = set()


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder against other processes; it is made where it is missing.

    The system lets go of it when this process ends in any way: what stays in the folder is an empty file, and blocks
    nobody. Where the system or the disk knows no such locks, nothing is held.

    Raises:
        BlockingIOError: another process holds it.
        OSError: the folder cannot be written.
    """
    if fcntl is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _hold(descriptor, folder)
        yield
    finally:
        if descriptor in _held:  # not in a fork
            _held.remove(descriptor)
            os.close(descriptor)


def _hold(descriptor: int, folder: Path) -> None:
    _held.add(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # type: ignore[union-attr]
    except BlockingIOError:
        raise BlockingIOError(
            f"another process is training in {folder}; wait for it to end, or choose another folder (--out)"
        ) from None
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        logger.warning("%s cannot be locked (%s); see that no other process trains in it", folder, error.strerror)


def _let_go() -> None:
    """In a fork, such as a process that reads images: it would hold the folder when the one that trains is killed."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if fcntl is not None:
    os.register_at_fork(after_in_child=_let_go)
