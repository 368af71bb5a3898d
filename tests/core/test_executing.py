"""The executing form touches no more than it must, in either memory format."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from drnn.core import GateDecision

from .small import images, make_block

FORMATS = [torch.contiguous_format, torch.channels_last]


class Script(torch.nn.Module):
    """Answers for the images still there, in the order of the batch: it fails if the form mixes them up."""

    def __init__(self, loops_of_image):
        super().__init__()
        self.loops, self.calls = loops_of_image, 0

    def forward(self, x):
        here = self.loops[self.loops >= self.calls]
        assert len(here) == len(x)
        margin = (here - self.calls).to(x.dtype) - 0.5
        self.calls += 1
        return GateDecision(margin, margin)


class AddOne(torch.nn.Module):
    """A body whose loops can be counted in its output."""

    def forward(self, x, loop, groups):
        return x + 1


@settings(max_examples=60, deadline=None)
@given(loops=st.lists(st.integers(0, 3), max_size=7), layout=st.sampled_from(FORMATS))
def test_every_image_gets_its_own_loops_in_its_own_place(loops, layout):
    block = make_block().eval()
    block.gate, block.body = Script(torch.tensor(loops, dtype=torch.long)), AddOne()
    x = images(len(loops)).contiguous(memory_format=layout)
    before = x.clone()
    y, record = block.forward_with_gates(x)
    expected = before + torch.tensor(loops, dtype=x.dtype)[:, None, None, None]
    assert torch.equal(torch.round(y - before), torch.round(expected - before))
    assert torch.equal(x, before)
    assert record.executed.sum(1).tolist() == loops


def test_the_memory_format_survives_leaving_images():
    block, formats = make_block().eval(), []
    block.body.register_forward_pre_hook(
        lambda _, arguments: formats.append(arguments[0].is_contiguous(memory_format=torch.channels_last))
    )
    y = block(images(6).contiguous(memory_format=torch.channels_last))
    assert len(formats) > 1
    assert all(formats)
    assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_closed_gates_hand_the_very_same_tensor_back(count):
    block, x = make_block(opening=-20.0).eval(), images(count)
    assert block(x) is x


def test_the_gate_is_asked_no_oftener_than_images_are_there():
    block = make_block(loops=4).eval()
    block.gate = Script(torch.tensor([1, 0, 2, 1]))
    block(images(4))
    assert block.gate.calls == 3
