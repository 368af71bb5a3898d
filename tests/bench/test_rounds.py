"""Rounds of a measurement: which batch runs when."""

import pytest
import torch

from drnn.bench.measure import time_rounds
from drnn.bench.pairs import Pair
from drnn.bench.subjects import build, costs_of


@pytest.mark.parametrize(("device", "before"), [("cpu", [0]), ("cuda", [0, 1, 2])])
def test_every_batch_is_met_before_it_is_timed_on_a_gpu(device, before):
    """Its library looks for kernels at every new size; on a CPU one round warms up."""
    model, turns = build("dr_resnet_digits", "plain", 0), []
    pair = Pair(model, torch.nn.Flatten(), costs_of("dr_resnet_digits"), 1, (torch.zeros(1, 1, 8, 8),), turns.append,
                [1] * 3, torch.zeros(3), 0.5, "scripted")  # fmt: skip
    times, ends = time_rounds(pair, 3, device)
    assert turns == [*before, 0, 1, 2]
    assert len(times.first_s) == len(ends.first_s) == 3
