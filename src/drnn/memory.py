"""Memory that feature maps leave, kept for the next ones."""

import ctypes
import os
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # malloc.h of glibc
LARGEST = 2**31 - 1
OWN_CHOICES = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES")

_kept = False


def keep_freed_memory() -> bool:
    """Have this process keep what its tensors free on the CPU, instead of giving it back; returns whether it does.

    glibc gives blocks above 32 MB back to the system when they are freed, and takes them page by page again at the next
    call: a batch of 32 feature maps of 256 x 56 x 56 has 103 MB. The process then stays as large as it once was. It
    holds for the whole process, so the command ``drnn`` does it and ``import drnn`` does not. Where the environment
    sets glibc's own limits they count, and nothing is changed; other systems and allocators do not need it.

    Example:
        >>> import drnn
        >>> drnn.keep_freed_memory() in (True, False)
        True
    """
    global _kept
    if _kept or not sys.platform.startswith("linux") or any(name in os.environ for name in OWN_CHOICES):
        return _kept
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    large = mallopt(MMAP_THRESHOLD, LARGEST) or mallopt(MMAP_MAX, 0)  # an older glibc takes no more than 32 MB
    _kept = bool(large and mallopt(TRIM_THRESHOLD, LARGEST))
    return _kept


def keeps_freed_memory() -> bool:
    """Whether `keep_freed_memory` took effect in this process."""
    return _kept
