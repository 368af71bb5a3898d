"""Bodies, norms and gates of somebody's own in a block."""

import numpy as np
import pytest
import torch
from torch import nn

from drnn.core import Deterministic, Gate, GateDecision, LVBN2d, OpenGate, RecursiveBlock, SharedBatchNorm2d
from drnn.core.loops import loop_arrivals, loop_dense
from drnn.core.sorting import loop_sorting

from .small import images, make_block


class Brightness(nn.Module):
    """A gate: bright images go on."""

    def forward(self, x):
        margin = x.mean((1, 2, 3)) - 1
        return GateDecision(margin, margin)


class Body(nn.Module):
    """A norm that changes nothing of the images."""

    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def forward(self, x, loop, groups):
        return x + 0 * self.norm(x)


class Calls(nn.Module):
    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, x, loop, groups):
        return self.call(x)


def bright(*values, size=2):
    return torch.tensor(values)[:, None, None, None].expand(-1, 4, size, size).clone()


@pytest.mark.parametrize("size", [1, 2])
def test_a_plain_batch_norm_gets_the_whole_batch(size):
    x = bright(3.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, size=size)
    plain, shared = (RecursiveBlock(Body(norm(4)), Brightness(), 3) for norm in (nn.BatchNorm2d, SharedBatchNorm2d))
    for block in (plain, shared):
        block(x)
    torch.testing.assert_close(plain.body.norm.state_dict(), shared.body.norm.state_dict())
    assert plain.training_form is loop_dense
    one_leaves = bright(3.0, 3.0, 3.0, 0.0, size=size)
    plain(one_leaves)


def test_norms_that_are_put_in_later_count():
    block = make_block(norm="ilvbn")
    assert block.training_form is loop_arrivals
    block.body.bn1, block.body.bn2 = LVBN2d(4, 3).double(), LVBN2d(4, 3).double()
    assert block.training_form is loop_dense


@pytest.mark.parametrize("dense", [False, True])
def test_a_gate_that_is_put_in_later_is_obeyed_and_so_is_its_absence(dense):
    gated, x = make_block().eval(), images(8)
    block = RecursiveBlock(gated.body, OpenGate(), 3).eval()
    block.set_dense(dense)
    without = block(x)
    block.gate = gated.gate
    y, record = block.forward_with_gates(x)
    expected, there = gated.forward_with_gates(x)
    torch.testing.assert_close(y, expected)
    assert torch.equal(record.executed, there.executed)
    assert not there.executed.all()
    block.gate = OpenGate()
    torch.testing.assert_close(block(x), without)


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_a_body_that_overwrites_its_images_is_refused_where_they_are_needed(dense, training):
    overwrites = Calls(nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3, padding=1)))
    block = RecursiveBlock(overwrites, Brightness(), 3).train(training)
    block.set_dense(dense)
    x = images(8).float()
    if training or dense:
        with pytest.raises(ValueError, match=r"Calls\) overwrote the images that it got, .*inplace=False"):
            block(x)
    else:
        assert block(x).shape == x.shape
    block.body.call[0].inplace = False
    assert block(x).shape == x.shape


@pytest.mark.parametrize("form", [{"dense": True}, {"dense": False}, {"gate": OpenGate()}, {"sorting": True}])
@pytest.mark.parametrize("training", [False, True])
def test_a_body_that_changes_the_shape_is_refused(form, training, monkeypatch):
    block = RecursiveBlock(Calls(nn.AvgPool2d(2)), form.get("gate", Brightness()), 2).train(training)
    block.set_dense(form.get("dense", False))
    if form.get("sorting"):
        monkeypatch.setattr(RecursiveBlock, "evaluation_form", property(lambda self: loop_sorting))
    with pytest.raises(ValueError, match=r"made \(\d, 4, 4, 4\) of \(\d, 4, 8, 8\); .* keeps the shape"):
        block(bright(3.0, 3.0, 0.0, size=8))


def test_a_body_that_cannot_be_called_is_refused_at_once():
    with pytest.raises(TypeError, match=r"body of Sequential received, .*body\(x, loop, groups\)"):
        RecursiveBlock(nn.Sequential(nn.Conv2d(4, 4, 1)), Brightness(), 2)


def test_a_body_whose_hook_makes_other_arguments_is_taken():
    body = nn.Sequential(nn.Conv2d(4, 4, 1))
    body.register_forward_pre_hook(lambda module, given: given[:1])
    assert RecursiveBlock(body, Brightness(), np.int64(2))(bright(2.0, 0.0)).shape == (2, 4, 2, 2)


@pytest.mark.parametrize(("made", "named"), [(None, "NoneType"), ((1, 2), "tuple")])
def test_a_body_that_makes_no_tensor_is_refused(made, named):
    with pytest.raises(ValueError, match=rf"made {named} of \(\d, 4, 2, 2\)"):
        RecursiveBlock(Calls(lambda x: made), Brightness(), 2)(bright(2.0, 0.0))


def test_a_body_that_overwrites_images_that_left_and_are_computed_once_more_is_refused(monkeypatch):
    """A GPU's form computes a few of those who just left, too, so that batches have few sizes."""
    monkeypatch.setattr(RecursiveBlock, "evaluation_form", property(lambda self: loop_sorting))
    block = RecursiveBlock(Calls(lambda x: x.mul_(0.5)), Brightness(), 2).eval()
    with pytest.raises(ValueError, match="overwrote the images that it got"):
        block(bright(*[3.0] * 65, *[0.0] * 127))


@pytest.mark.parametrize("loops", [0, 2.5, "3"])
def test_loops_are_a_whole_number(loops):
    with pytest.raises(ValueError, match=rf"num_loops = {loops!r} received"):
        RecursiveBlock(Body(nn.Identity()), Brightness(), loops)


@pytest.mark.parametrize("dense", [False, True])
def test_second_derivatives_of_training_are_refused_as_wrong_ones_would_come_out(dense):
    block = make_block()
    block.set_dense(dense)
    x = images(8).requires_grad_()
    (slope,) = torch.autograd.grad(block(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.square().sum().backward()


def test_a_block_inside_another_tells_of_itself():
    inner = RecursiveBlock(Calls(lambda x: x + 1), Brightness(), 2)
    outer = RecursiveBlock(Calls(inner), Brightness(), 3).eval()
    _, record = outer.forward_with_gates(bright(2.0, 0.0, 0.0))
    assert record.executed.tolist() == [[True] * 3, [False] * 3, [False] * 3]


class Scores(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape

    def forward(self, x):
        return x.new_zeros(len(x), *self.shape)


@pytest.mark.parametrize("shape", [(1,), (), (2, 2)])
def test_scores_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"scores of shape \(2.* received; a scorer gives \(N, 2\)"):
        Gate(Scores(shape), Deterministic())(bright(1.0, 2.0))


def test_what_decides_makes_a_decision():
    with pytest.raises(TypeError, match=r"Identity gave Tensor; what decides makes a drnn\.core\.GateDecision"):
        Gate(Scores((2,)), nn.Identity())(bright(1.0, 2.0))


@pytest.mark.parametrize("dense", [False, True])
def test_blocks_loop_over_maps(dense):
    block = RecursiveBlock(Calls(lambda x: x + 1), Brightness(), 3)
    block.set_dense(dense)
    with pytest.raises(ValueError, match=r"\(5, 7, 4\) received; a block that loops takes maps \(N, C, H, W\)"):
        block(torch.zeros(5, 7, 4))
