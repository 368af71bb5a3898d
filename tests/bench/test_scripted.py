"""A script is followed to the letter, and its multiply-adds are those executed."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from drnn import create_model
from drnn.bench import LoopScript, script_by_rate
from drnn.bench.measure import time_ends
from drnn.bench.scripted_gate import Scripted
from drnn.bench.subjects import build, macs_of, share_of_loops
from drnn.costs import count_costs

PAIR = ("dr_resnet_digits", "resnet_digits")


@pytest.mark.parametrize("form", ["plain", "optimised", "masked"])
def test_executed_multiply_adds_are_those_of_the_script(form):
    model, costs = build(PAIR[0], form, 0), count_costs(create_model(PAIR[0]))
    script = script_by_rate(costs.slots, 0.6, 12)
    scripted, x = Scripted(model, script, 6), torch.randn(6, 1, 8, 8)
    for batch in range(2):
        scripted.check(x, batch)
        scripted.prepare(batch)
        with torch.inference_mode():
            record = model.forward_with_gates(x)[1]
        assert torch.equal(costs.macs_per_image(record), macs_of(script, costs)[batch * 6 :][:6])
    if form == "plain":  # torch counts no fused kernels
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            scripted.prepare(1)
            model(x)
        assert counter.get_total_flops() == 2 * int(macs_of(script, costs)[6:].sum())


def test_a_form_that_does_something_else_is_noticed():
    model = build(PAIR[0], "plain", 0)
    scripted = Scripted(model, LoopScript(torch.tensor([[1, 2], [0, 3]])), 2)
    scripted.check(torch.randn(2, 1, 8, 8))
    scripted.plans[0][0][0].neg_()
    with pytest.raises(RuntimeError, match="other loops than its script"):
        scripted.check(torch.randn(2, 1, 8, 8))
    with pytest.raises(ValueError, match="of 5 blocks received for a network of 2"):
        Scripted(build(PAIR[0], "plain", 0), LoopScript(torch.ones(2, 5, dtype=torch.long)), 2)


def test_the_ends_of_the_line_are_the_network_without_and_with_all_loops():
    model = build(PAIR[0], "plain", 0)
    calls = []
    model.layer2[1].body.register_forward_hook(lambda *_: calls.append(1))
    with torch.inference_mode():
        time_ends(model, torch.randn(1, 1, 8, 8), "cpu")
        assert len(calls) == 3
    assert "forward" not in model.layer2[1].__dict__
    assert share_of_loops(LoopScript(torch.tensor([[3, 3]])), count_costs(model)) == 1.0
