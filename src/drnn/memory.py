"""Memory that feature maps leave, kept for the next ones."""

import ctypes
import os
import sys

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # malloc.h of glibc
VARIABLES = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_")
TUNABLES = ("malloc.mmap_threshold", "malloc.trim_threshold", "malloc.mmap_max")

ALLOCATORS = ("mallctl", "tc_malloc", "mi_malloc")  # symbols of jemalloc, tcmalloc and mimalloc

_kept = False


def keep_freed_memory() -> bool:
    """Have this process keep what its tensors free on the CPU, instead of giving it back; returns whether it does.

    glibc gives blocks above 32 MB back to the system when they are freed, and takes them page by page again at the next
    call: a batch of 32 feature maps of 256 x 56 x 56 has 103 MB. The price is memory: what was freed is not always of
    the size that is asked for next, so a process may come to hold a multiple of what it needs at once. It cannot be
    undone, holds for the whole process, and helps tensors made in the main thread; other threads' heaps have 64 MB in
    glibc, and give larger blocks back all the same. So drnn eval, compare, calibrate, curve, predict and bench do it;
    other commands and ``import drnn`` do not. Where the environment sets glibc's own limits, or another allocator has
    taken glibc's place, nothing is changed; other systems do not need it.

    Example:
        >>> import drnn
        >>> drnn.keep_freed_memory()  # doctest: +SKIP
        True
    """
    global _kept
    if _kept or not sys.platform.startswith("linux") or set_by_environment() or another_allocator():
        return _kept
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's; musl has none
    if mallopt is not None:
        _kept = bool(mallopt(MMAP_MAX, 0) and mallopt(TRIM_THRESHOLD, -1))
    return _kept


def is_lack_of_memory(error: RuntimeError) -> bool:
    """Whether torch means by it what Python calls a MemoryError, on a GPU or a CPU."""
    return type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)


def set_by_environment() -> bool:
    """Whether the environment says when glibc gives memory back."""
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    return any(name in os.environ for name in VARIABLES) or any(name in tunables for name in TUNABLES)


def another_allocator() -> bool:
    """Whether an allocator with symbols of its own, loaded before glibc's, answers for ``malloc``."""
    loaded = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    return any(hasattr(loaded, symbol) for symbol in ALLOCATORS)


def freed_memory() -> str:
    """What happens to it in this process, as result files keep it.

    "kept", "returned", "as the environment says", or "as another allocator does".
    """
    if set_by_environment():
        return "as the environment says"
    if another_allocator():
        return "as another allocator does"
    return "kept" if _kept else "returned"
