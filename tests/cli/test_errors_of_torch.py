"""Errors of torch that a user can do something about get one line."""

import pytest
import torch

from drnn.cli.main import main


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried"),
        RuntimeError("[x] DefaultCPUAllocator: can't allocate memory\nmore"),
    ],
)
def test_a_lack_of_memory_gets_one_line(error, monkeypatch, capsys):
    def run(argv):
        raise error

    monkeypatch.setattr("drnn.cli.models.run", run)
    assert main(["models"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("drnn models: out of memory")
    assert "fewer images at a time" in said
    assert said.count("\n") == 1


def test_a_reader_that_dies_gets_one_line(monkeypatch, capsys):
    def run(argv):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. \nmore")

    monkeypatch.setattr("drnn.cli.models.run", run)
    assert main(["models"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("drnn models: a process that reads images ended (DataLoader worker (pid 7) is killed")
    assert said.count("\n") == 1


def test_another_runtime_error_still_raises(monkeypatch):
    def run(argv):
        raise RuntimeError("of our own making")

    monkeypatch.setattr("drnn.cli.models.run", run)
    with pytest.raises(RuntimeError, match="of our own making"):
        main(["models"])
