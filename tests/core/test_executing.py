"""Each executing form touches no more than it must, in either memory format."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import drnn.core.block
from drnn.core import GateDecision
from drnn.core.loops import loop_executing
from drnn.core.sorting import loop_sorting

from .small import images, make_block

FORMATS = [torch.contiguous_format, torch.channels_last]


@pytest.fixture(scope="module", params=[loop_executing, loop_sorting], autouse=True)
def form(request):
    """The form for a CPU, and the one for devices that work ahead, which runs on any."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drnn.core.block, "loop_executing", request.param)
        yield request.param


NUMBER = 1000.0  # image i has i times this in its first pixel


class Script(torch.nn.Module):
    """Answers for the images still there, wherever they are in the batch: it reads each one's number off its pixels."""

    def __init__(self, loops_of_image):
        super().__init__()
        self.loops, self.calls = loops_of_image, 0

    def forward(self, x):
        here = self.loops[(x[:, 0, 0, 0] / NUMBER).round().long()]
        assert here.sort().values.equal(self.loops[self.loops >= self.calls].sort().values)
        margin = (here - self.calls).to(x.dtype) - 0.5
        self.calls += 1
        return GateDecision(margin, margin)


class AddOne(torch.nn.Module):
    """A body whose loops can be counted in its output."""

    def forward(self, x, loop, groups):
        return x + 1


class Rectify(torch.nn.Module):
    """A body whose gradient needs its own output, which nobody may write to; small pixels keep an image's number."""

    def forward(self, x, loop, groups):
        return torch.relu(x + 0.01)


class Always(torch.nn.Module):
    """So many loops, for every image."""

    def __init__(self, loops):
        super().__init__()
        self.left = loops

    def forward(self, x):
        self.left -= 1
        margin = x.new_full((len(x),), self.left + 0.5)
        return GateDecision(margin, margin)


class Nothing(torch.nn.Module):
    """A body that hands back what it was given."""

    def forward(self, x, loop, groups):
        return x


class Wrapped(torch.nn.Module):
    """A body whose output is that of a module inside it."""

    def __init__(self, last):
        super().__init__()
        self.last = last

    def forward(self, x, loop, groups):
        return self.last(x, loop, groups)


def numbered(count):
    """Images whose first pixel tells their number."""
    x = images(count)
    x[:, 0, 0, 0] = NUMBER * torch.arange(count)
    return x


@settings(max_examples=60, deadline=None)
@given(loops=st.lists(st.integers(0, 3), max_size=7), layout=st.sampled_from(FORMATS))
def test_every_image_gets_its_own_loops_in_its_own_place(loops, layout):
    block = make_block().eval()
    block.gate, block.body = Script(torch.tensor(loops, dtype=torch.long)), AddOne()
    x = numbered(len(loops)).contiguous(memory_format=layout)
    before = x.clone()
    y, record = block.forward_with_gates(x)
    expected = before + torch.tensor(loops, dtype=x.dtype)[:, None, None, None]
    assert torch.equal(torch.round(y - before), torch.round(expected - before))
    assert torch.equal(x, before)
    assert record.executed.sum(1).tolist() == loops


@settings(max_examples=30, deadline=None)
@given(loops=st.lists(st.integers(0, 3), max_size=7))
def test_a_body_that_returns_its_input_loses_no_image(loops):
    block = make_block().eval()
    block.gate, block.body = Script(torch.tensor(loops, dtype=torch.long)), Nothing()
    x = numbered(len(loops))
    before = x.clone()
    assert torch.equal(block(x), before)
    assert torch.equal(x, before)


def test_gradients_flow_through_images_that_closed_ranks():
    block = make_block().eval()
    block.gate, block.body = Script(torch.tensor([1, 3, 0, 2, 3])), Rectify()
    x = numbered(5).requires_grad_()
    (together,) = torch.autograd.grad(block(x).square().sum(), x)
    for row, loops in enumerate([1, 3, 0, 2, 3]):
        ours = x[row : row + 1].detach().clone().requires_grad_()
        block.gate = Always(loops)
        (expected,) = torch.autograd.grad(block(ours).square().sum(), ours)
        torch.testing.assert_close(together[row : row + 1], expected)


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
    block.body = AddOne()
    block(numbered(4))
    assert block.gate.calls == 3


def keep_outputs(part, kept):
    return part.register_forward_hook(lambda _, arguments, y: kept.append((y, y.clone())))


def keep_inputs(part, kept):
    return part.register_forward_pre_hook(lambda _, arguments: kept.append((arguments[0], arguments[0].clone())))


def keep_everywhere(part, kept):
    def hook(module, arguments, y):
        if module is part:
            kept.append((y, y.clone()))

    return torch.nn.modules.module.register_module_forward_hook(hook)


@pytest.mark.parametrize(
    ("where", "keep"),
    [("body", keep_outputs), ("body.last", keep_outputs), ("gate", keep_inputs), ("body", keep_everywhere)],
)
def test_what_a_hook_keeps_is_never_written_to(where, keep):
    block = make_block(loops=3).eval()
    block.gate, block.body = Script(torch.tensor([1, 2, 0, 3, 1, 3, 2, 3])), AddOne()
    if where == "body.last":
        block.body = Wrapped(block.body)
    expected = block(numbered(8))
    block.gate.calls, kept = 0, []
    handle = keep(block.get_submodule(where), kept)
    with torch.inference_mode():
        y = block(numbered(8))
    handle.remove()
    assert len(kept) >= 3
    assert all(torch.equal(tensor, copy) for tensor, copy in kept)
    assert torch.equal(y, expected)


@pytest.mark.parametrize(("where", "keep"), [("body", keep_outputs), ("gate.scorer", keep_inputs)])
def test_a_residual_block_may_be_watched(where, keep):
    block, kept = make_block(loops=4).eval(), []
    keep(block.get_submodule(where), kept)
    with torch.inference_mode():
        record = block.forward_with_gates(images(24))[1]
    assert record.executed.sum(0).tolist() == [16, 5, 2, 0]
    assert all(torch.equal(tensor, copy) for tensor, copy in kept)
