"""Rounds of a measurement: which batch runs when."""

import pytest
import torch

from drnn.bench.measure import time_rounds
from drnn.bench.pairs import Pair
from drnn.bench.subjects import build, costs_of


def pair_of(turns):
    """A pair of networks that notes its turns."""
    return Pair(build("dr_resnet_digits", "plain", 0), torch.nn.Flatten(), costs_of("dr_resnet_digits"), 1,
                (torch.zeros(1, 1, 8, 8),), turns.append, (), "scripted")  # fmt: skip


@pytest.mark.parametrize(("device", "before"), [("cpu", [0]), ("cuda:0", [0, 1, 2])])
def test_every_batch_is_met_before_it_is_timed_on_a_gpu(device, before):
    """Its library looks for kernels at every new size; on a CPU one round warms up."""
    turns = []
    times, ends = time_rounds(pair_of(turns), 3, device)
    assert turns == [*before, 0, 1, 2]
    assert len(times.first_s) == len(ends.first_s) == 3


def test_rounds_wait_for_the_device_they_run_on(monkeypatch):
    """And not for the current one, which may be another GPU."""
    waited = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    for part in (torch.cuda, torch.accelerator):
        monkeypatch.setattr(part, "synchronize", lambda device=None: waited.append(str(device)))
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda *_: torch.device("cuda"))
    time_rounds(pair_of([]), 2, "cuda:1")
    assert waited == ["cuda:1"] * 32  # two rounds before and two kept, of four works, before and after each
