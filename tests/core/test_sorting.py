"""The form for devices that work ahead: few sizes of batch, whatever leaves."""

import sys

import pytest
import torch

import drnn.core.sorting
from drnn.bench.memory import peak_bytes
from drnn.core import GateDecision
from drnn.core.loops import loop_executing
from drnn.core.sorting import Asked, loop_sorting

from .small import images, make_block

NUMBER = 1000.0


class Script(torch.nn.Module):
    """Answers by each image's number, those that left a moment ago included; tells who was there."""

    def __init__(self, loops_of_image):
        super().__init__()
        self.loops, self.calls, self.sizes = torch.tensor(loops_of_image), 0, []

    def forward(self, x):
        self.sizes.append(len(x))
        margin = (self.loops[(x[:, 0, 0, 0] / NUMBER).round().long()] - self.calls).to(x.dtype) - 0.5
        self.calls += 1
        return GateDecision(margin, margin)


class AddOne(torch.nn.Module):
    def forward(self, x, loop, groups):
        return x + 1


@pytest.mark.parametrize(
    ("loops", "sizes"),
    [
        ([3, 0, 1, 2, 2, 1, 3, 0, 3, 1, 2, 3], [12, 12, 8, 4]),  # 12, 10, 7 and 4 are there
        ([2] * 12, [12, 12, 12]),
        ([1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [12, 4]),
        ([0, 0, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2], [12, 12, 10]),  # no more than were there
        ([0] * 12, [12]),
        ([0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [12, 1, 1]),  # one alone is alone
    ],
)
def test_a_batch_shrinks_in_steps_and_no_image_is_counted_twice(loops, sizes, monkeypatch):
    monkeypatch.setattr(drnn.core.sorting, "SIZES", 3)
    block, x = make_block(loops=4).eval(), images(12)
    x[:, 0, 0, 0] = NUMBER * torch.arange(12)
    before = x.clone()
    monkeypatch.setattr(sys.modules["drnn.core.block"], "loop_executing", loop_sorting)
    block.gate, block.body = Script(loops), AddOne()
    y, record = block.forward_with_gates(x)
    torch.testing.assert_close(y - before, torch.tensor(loops, dtype=x.dtype)[:, None, None, None].expand_as(x))
    assert record.executed.sum(1).tolist() == loops
    assert record.arrived.sum(1).tolist() == [min(count + 1, 4) for count in loops]
    assert block.gate.sizes == sizes
    assert torch.equal(x, before)


def test_no_more_is_kept_than_the_form_for_a_cpu_keeps(monkeypatch):
    """However often somebody leaves."""
    held = []
    for form in (loop_executing, loop_sorting):
        block, x = make_block(loops=12).eval(), images(32, 4, 16)
        x[:, 0, 0, 0] = NUMBER * torch.arange(32)
        monkeypatch.setattr(sys.modules["drnn.core.block"], "loop_executing", form)
        block.body = AddOne()
        with torch.inference_mode():
            block.gate = Script([min(number, 12) for number in range(32)])
            held.append(peak_bytes(lambda block=block, x=x: block(x)) / x.nbytes)
    assert held[1] < held[0] + 1.5


def test_a_question_is_answered():
    assert Asked(torch.tensor([True, False, True]).sum()).wait() == 2
