"""Golden outputs are rewritten only on request; tests marked ``gpu`` are skipped where there is none."""

import errno
import os
import signal

import pytest
import torch


def pytest_addoption(parser):
    parser.addoption("--rewrite-golden", action="store_true", help="rewrite tests/models/golden.json")


def pytest_collection_modifyitems(items):
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU"))


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
