"""A script is followed to the letter, and its multiply-adds are those executed."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from drnn import create_model
from drnn.bench import LoopScript, script_by_rate
from drnn.bench.measure import scripted_pair, time_ends
from drnn.bench.scripted_gate import Scripted
from drnn.bench.subjects import Case, build
from drnn.costs import count_costs

PAIR = ("dr_resnet_digits", "resnet_digits")


@pytest.mark.parametrize("form", ["plain", "optimised", "masked"])
def test_executed_multiply_adds_are_those_of_the_script(form):
    model, costs = build(PAIR[0], form, 0), count_costs(create_model(PAIR[0]))
    script = script_by_rate(costs.slots, 0.6, 12)
    scripted, x = Scripted(model, script, 6), torch.randn(6, 1, 8, 8)
    expected = [costs.macs_per_image(part.record(costs.slots)) for part in script.split(6)]
    for batch in range(2):
        scripted.check(x, batch)
        scripted.prepare(batch)
        with torch.inference_mode():
            record = model.forward_with_gates(x)[1]
        assert torch.equal(costs.macs_per_image(record), expected[batch])
    if form == "plain":  # torch counts no fused kernels
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            scripted.prepare(1)
            model(x)
        assert counter.get_total_flops() == 2 * int(expected[1].sum())


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


@pytest.mark.parametrize("rate", [0.0, 0.6, 1.0])
def test_a_pair_knows_what_its_script_costs(rate):
    pair = scripted_pair(Case(*PAIR, "plain", 2, 3, rate=rate))
    costs, loops = pair.costs, script_by_rate((3, 3), rate, 6).loops.tolist()
    assert pair.executed.sum(1).tolist() == list(map(sum, loops))
    inside = [[sum(costs.loop_macs[3 * b : 3 * b + done]) for b, done in enumerate(image)] for image in loops]
    asked = [[sum(costs.gate_macs[3 * b :][: min(done + 1, 3)]) for b, done in enumerate(image)] for image in loops]
    each = [costs.fixed_macs + sum(a) + sum(b) for a, b in zip(inside, asked, strict=True)]
    assert pair.macs == [sum(each[:2]), sum(each[2:4]), sum(each[4:])]
    assert pair.share == pytest.approx(sum(map(sum, inside)) / (6 * sum(costs.loop_macs)))
