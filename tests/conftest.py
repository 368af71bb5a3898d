"""Golden outputs are rewritten only on request; tests marked ``gpu`` are skipped where there is none."""

import errno
import os
import signal
from pathlib import Path

import pytest
import torch


def pytest_addoption(parser):
    parser.addoption("--rewrite-golden", action="store_true", help="rewrite tests/models/golden.json")


def pytest_collection_modifyitems(items):
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU"))


@pytest.fixture(scope="session")
def cifar10():
    """A folder with the official files: what DRNN_CIFAR10 names, or ``data`` where they lie there."""
    named, here = os.environ.get("DRNN_CIFAR10"), Path(__file__).parents[1] / "data"
    if not named and not (here / "cifar-10-batches-bin").is_dir():
        pytest.skip("CIFAR-10 is not in data, and DRNN_CIFAR10 names no folder with it")
    return named or str(here)


@pytest.fixture
def hangups_are_heard():
    """By processes that a test starts, under nohup too: what is handled here has its default there."""
    before = signal.signal(signal.SIGHUP, lambda *_: None)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def fill_disk(monkeypatch):
    """A call that fills the disk after so many files; ``undo`` of its patch makes room again."""

    def fill(written):
        flush, flushed = os.fsync, []

        def full(number):
            if len(flushed) == written:
                raise OSError(errno.ENOSPC, "No space left on device")
            flushed.append(flush(number))

        monkeypatch.setattr(os, "fsync", full)
        return monkeypatch

    return fill
