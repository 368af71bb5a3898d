"""What a number depends on besides its recipe: command, code, versions, hardware, date."""

import contextlib
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import torch

from drnn.memory import freed_memory


def environment(device: torch.device | str) -> dict:
    """Plain values, as result files keep them; all of this moment but the commit, see `commit`.

    Args:
        device: where the work is done: its GPU is named, "cuda" being the current one, and none beside another device.
    """
    name = Path(sys.argv[0]).name
    return {
        "command": shlex.join(["drnn" if name == "__main__.py" else name, *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "freed_memory": freed_memory(),
        "gpu": _gpu(device),
    }


def usable_cores() -> int:
    """That this process may use: fewer than the machine has where it is pinned to some, as in many containers."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def commit() -> str | None:
    """Of the code as it was when this process first asked; what works for hours asks at its start.

    "-dirty" where the package itself differs from the commit, not where a result file was written. None without git,
    and for a copy of the package that merely lies in a repository of something else.
    """
    here = Path(__file__).parent
    try:
        _git(here, "ls-files", "--error-unmatch", "--", Path(__file__).name)
        head = _git(here, "rev-parse", "--short=12", "HEAD")
        return f"{head}-dirty" if _git(here, "status", "--porcelain", "--", ".") else head
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()  # fmt: skip


def _gpu(device: torch.device | str) -> str | None:
    if torch.device(device).type != "cuda" or not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_name(device)


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()
