"""Blocks in other precisions: maps of two meet under autocast, and what left may overflow."""

import copy
import sys

import pytest
import torch

from drnn.core import Deterministic, Gate, GateDecision, HiddenScorer, LinearScorer, RecursiveBlock
from drnn.core.loops import loop_executing
from drnn.core.sorting import loop_sorting
from drnn.models.aig import AIGScorer

from .small import images, make_block


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("form", [loop_executing, loop_sorting])
def test_under_autocast_images_that_left_at_once_meet_those_that_went_on(form, channels_last, monkeypatch):
    block, x = make_block(8).float().eval(), images(16, 8, 4).float()
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    twin = copy.deepcopy(block)
    twin.set_dense(True)
    monkeypatch.setattr(sys.modules["drnn.core.block"], "loop_executing", form)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        (y, record), (expected, dense) = block.forward_with_gates(x), twin.forward_with_gates(x)
    assert torch.equal(record.executed, dense.executed)
    left = ~record.executed[:, 0]
    assert 0 < left.sum() < 16
    assert y.dtype == expected.dtype == torch.float32
    assert torch.equal(y[left], x[left])
    torch.testing.assert_close(y, expected, rtol=0.02, atol=0.02)


def test_training_under_autocast_does_too():
    block, x = make_block().float(), images(16).float()
    with torch.autocast("cpu", torch.bfloat16):
        y, record = block.forward_with_gates(x)
    y.sum().backward()
    left = ~record.executed[:, 0]
    assert 0 < left.sum() < 16
    assert torch.equal(y[left], x[left])
    assert all(parameter.grad is not None for parameter in block.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("dense", [False, True])
def test_a_block_of_half_precision_trains_in_both_forms(dtype, dense):
    block, x = make_block().to(dtype), images(16).to(dtype)
    block.set_dense(dense)
    y, record = block.forward_with_gates(x)
    y.float().sum().backward()
    assert 0 < record.executed[:, 0].sum() < 16
    assert y.dtype == dtype
    assert all(buffer.isfinite().all() for buffer in block.buffers())


@pytest.mark.parametrize("make", [HiddenScorer, LinearScorer, AIGScorer])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gates_do_not_round_their_scores_under_autocast(make, dtype):
    """Scores of about one, closer than bfloat16 can tell: rounded, every answer would be a tie, and leave."""
    torch.manual_seed(0)
    gate = Gate(make(32), Deterministic()).eval()
    last = gate.scorer.fc if make is LinearScorer else gate.scorer.fc2
    with torch.no_grad():
        last.bias.copy_(torch.tensor([1.0, 1.0]))
        x = torch.rand(64, 32, 4, 4).to(dtype)
        last.bias[0] += gate(x.float()).margin.median()
        expected = gate(x.float())
        with torch.autocast("cpu", torch.bfloat16):
            answer = gate(x)
    assert 0 < expected.executes.sum() < 64
    assert answer.margin.dtype == torch.float32
    torch.testing.assert_close(answer.margin, expected.margin, rtol=0, atol=1e-6)
    assert torch.equal(answer.executes, expected.executes)


class Overflows(torch.nn.Module):
    def forward(self, x, loop, groups):
        return torch.where(x > 0, x + 1, x * torch.inf)


class Mean(torch.nn.Module):
    def forward(self, x):
        margin = x.mean((1, 2, 3))
        return GateDecision(margin, margin)


@pytest.mark.parametrize("dense", [False, True])
@torch.no_grad()
def test_what_the_body_makes_of_an_image_that_left_does_not_matter(dense):
    block = RecursiveBlock(Overflows(), Mean(), 2).eval()
    block.set_dense(dense)
    x = torch.stack([torch.ones(1, 2, 2), -torch.ones(1, 2, 2)])
    assert block(x)[:, 0, 0, 0].tolist() == [3, -1]
