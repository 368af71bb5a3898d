"""Freed memory stays with the process where it was asked to, counted in pages that the system had to hand out."""

import os
import subprocess
import sys
from inspect import cleandoc

import pytest

from drnn import memory
from drnn.memory import ALLOCATORS, TUNABLES, VARIABLES, freed_memory, keep_freed_memory, set_by_environment

CODE = """
import resource, sys, torch
if sys.argv[1] == "kept":
    import drnn
    assert drnn.keep_freed_memory() and drnn.keep_freed_memory()
elif sys.argv[1]:
    from drnn.cli.main import main
    main([sys.argv[1], "nowhere"])
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(30):  # a heap takes a few turns to find its shape
    before = faults()
    torch.ones(25 * 2**20).add_(1)  # 100 MB
    print("pages", faults() - before)
"""
FEW = 100

needs_glibc = pytest.mark.skipif(not hasattr(os, "confstr") or "CS_GNU_LIBC_VERSION" not in os.confstr_names,
                                 reason="only glibc gives memory back so soon")  # fmt: skip


def pages(how, **environment):
    """What each turn of 100 MB took from the system."""
    own = {key: value for key, value in os.environ.items() if key not in (*VARIABLES, "GLIBC_TUNABLES")}
    command = [sys.executable, "-c", cleandoc(CODE), how]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env={**own, **environment})
    return [int(line.split()[1]) for line in run.stdout.splitlines() if line.startswith("pages")]


@needs_glibc
@pytest.mark.parametrize("how", ["kept", "eval"])
def test_what_was_freed_is_used_again(how):
    assert min(pages(how)) < FEW


@needs_glibc
@pytest.mark.parametrize(
    ("how", "environment"), [("", {}), ("train", {}), ("eval", {"MALLOC_TRIM_THRESHOLD_": str(2**27)})]
)
def test_without_being_asked_and_against_the_environment_nothing_is_kept(how, environment):
    assert min(pages(how, **environment)) > FEW


@pytest.mark.parametrize(
    ("variable", "value", "counts"),
    [
        ("MALLOC_MMAP_MAX_", "0", True),
        ("GLIBC_TUNABLES", f"glibc.{TUNABLES[0]}=1", True),
        ("GLIBC_TUNABLES", "glibc.rtld.optional_static_tls=512", False),
    ],
)
def test_limits_of_the_environment_are_recognised(variable, value, counts, monkeypatch):
    for name in (*VARIABLES, "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, value)
    assert set_by_environment() == counts
    assert (freed_memory() == "as the environment says") == counts


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere nothing is kept")
@pytest.mark.parametrize("symbol", ALLOCATORS)
def test_another_allocator_is_left_alone(symbol, monkeypatch):
    """It has a `mallopt` of its own, or glibc's is there and does nothing."""

    class Loaded:
        mallopt = staticmethod(lambda option, value: 1)

    for name in (*VARIABLES, "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(memory, "_kept", False)
    monkeypatch.setattr(Loaded, symbol, None, raising=False)
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: Loaded)
    assert not keep_freed_memory()
    assert freed_memory() == "as another allocator does"
