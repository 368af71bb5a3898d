"""Limits and theorems of the recursive block."""

import copy

import pytest
import torch

from drnn.core import GateDecision, ILVBN2d, OpenGate, RecursiveBlock
from drnn.models.blocks import BasicBlock

from .small import images, make_block


def gradients_after(module, x, run=None):
    x = x.clone().requires_grad_()
    y = (run or module)(x)
    (y * torch.arange(y.numel(), dtype=y.dtype).view_as(y).sin()).sum().backward()
    return y.detach(), x.grad, {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("opening", [20.0, None], ids=["open gate", "no gate"])
@pytest.mark.parametrize("norm", ["ilvbn", "lvbn", "shared"])
def test_one_loop_and_an_open_gate_is_the_plain_block_bit_for_bit(norm, opening):
    block = make_block(loops=1, norm=norm, gated=opening is not None, opening=opening).float()
    plain = BasicBlock(4, 4)
    tied = {name.replace(".loops.0", ""): value for name, value in block.body.state_dict().items()}
    plain.load_state_dict({name: value for name, value in tied.items() if "skipped" not in name})
    x = images(5).float()
    y, gx, gp = gradients_after(block.body.train(), x, block.train())
    expected, ex, ep = gradients_after(plain.train(), x)
    assert torch.equal(y, expected)
    assert torch.equal(gx, ex) or opening is not None  # the gate adds its own gradient to x
    for name, gradient in ep.items():
        assert torch.equal({k.replace(".loops.0", ""): v for k, v in gp.items()}[name], gradient), name
    assert torch.equal(block.eval()(x), plain.eval()(x))


def test_open_gates_unroll_into_a_net_with_tied_weights():
    block, x = make_block(opening=20.0), images(5)
    unrolled = x
    body = copy.deepcopy(block.body)
    for loop in range(3):
        unrolled = body(unrolled, loop, None)
    torch.testing.assert_close(block(x), unrolled)


@pytest.mark.parametrize("training", [True, False])
def test_closed_gates_pass_images_unchanged(training):
    block, x = make_block(opening=-20.0).train(training), images(5)
    assert torch.equal(block(x), x)


def test_nobody_executes_and_no_bit_of_the_running_statistics_moves():
    block = make_block(opening=-20.0)
    before = copy.deepcopy(dict(block.named_buffers()))
    for dense in (False, True):
        block.set_dense(dense)
        block(images(5))
    for name, buffer in block.named_buffers():
        if "skipped" not in name:
            assert torch.equal(buffer, before[name]), name


@pytest.mark.parametrize("opening", [None, -20.0])
@pytest.mark.parametrize("dense", [True, False])
def test_every_parameter_gets_a_gradient(opening, dense):
    block = make_block(opening=opening)
    block.set_dense(dense)
    block(images(5)).sum().backward()
    assert [name for name, p in block.named_parameters() if p.grad is None] == []


def test_result_does_not_depend_on_batch_mates_or_their_order(block):
    block.eval()
    x = images(8)
    whole = block(x)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(block(x[order]), whole[order])
    torch.testing.assert_close(torch.cat([block(image[None]) for image in x]), whole)
    torch.testing.assert_close(block(x[[2, 5]]), whole[[2, 5]])


def test_an_empty_batch_stays_empty(block):
    y, record = block.eval().forward_with_gates(images(0))
    assert y.shape == (0, 4, 3, 3)
    assert record.executed.shape == (0, 3)


def test_a_batch_of_one_value_trains():
    block = make_block(opening=20.0)
    assert torch.isfinite(block(images(1, size=1))).all()


def naive_and_lvbn():
    pair = [make_block(norm=norm, gated=False, seed=0) for norm in ("shared", "lvbn")]
    convolutions = {name: value for name, value in pair[0].body.state_dict().items() if "conv" in name}
    for block in pair:
        block.body.load_state_dict(convolutions, strict=False)
        for name, parameter in block.body.named_parameters():
            if "bn" in name:
                torch.nn.init.constant_(parameter, float(name.endswith("weight")))
        for module in block.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.reset_running_stats()
    return pair


def test_naive_recursion_and_lvbn_are_equal_at_initialisation_in_training():
    naive, lvbn = naive_and_lvbn()
    x = images(5)
    outputs = [gradients_after(block, x) for block in (naive, lvbn)]
    torch.testing.assert_close(outputs[0][:2], outputs[1][:2])
    torch.testing.assert_close(outputs[0][2]["body.conv1.weight"], outputs[1][2]["body.conv1.weight"])


def test_naive_recursion_and_lvbn_differ_after_steps_and_in_evaluation():
    naive, lvbn = naive_and_lvbn()
    x = images(5)
    for block in (naive, lvbn):
        optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            block(x).square().mean().backward()
            optimizer.step()
    assert not torch.allclose(naive(x), lvbn(x))
    assert not torch.allclose(naive.eval()(x), lvbn.eval()(x))


def test_plain_lvbn_with_gates_counts_images_that_left():
    block = make_block(norm="lvbn", seed=4)
    sizes = []
    block.body.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))
    _, record = block.forward_with_gates(images(6, seed=4))
    assert sizes == [6, 6, 6]
    assert not record.executed.all()


def test_wrong_numbers_of_loops_are_refused():
    with pytest.raises(ValueError, match="num_loops = 0"):
        RecursiveBlock(BasicBlock(4, 4), OpenGate(), 0)
    with pytest.raises(IndexError, match=r"loop 2 .* 0\.\.1"):
        ILVBN2d(4, 2)(images(1).float(), 2)


class ScriptedGate(torch.nn.Module):
    """Answers each call with the next of its margins, whatever it sees, as noise might."""

    def __init__(self, margins):
        super().__init__()
        self.margins, self.calls = margins, 0

    def forward(self, x):
        margin = self.margins[self.calls].expand(len(x))
        self.calls += 1
        return GateDecision(margin, margin)


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_to_leave_is_final_whatever_a_later_answer_says(dense, training):
    margins = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (-1.0, 1.0, 1.0)]
    block = make_block().train(training)
    block.gate, x = ScriptedGate(margins), images(4)
    block.set_dense(dense)
    y, record = block.forward_with_gates(x)
    assert torch.equal(y, x)
    assert not record.executed.any()
    assert record.arrived.sum(0).tolist() == [4, 0, 0]
    if training:
        (y.sum() + record.decision.sum()).backward()
        assert margins[0].grad is not None
        assert [margin.grad is None or margin.grad.item() == 0 for margin in margins[1:]] == [True, True]


def test_a_gate_learns_nothing_from_answers_after_its_image_left():
    """Dense training sees a later "execute" of an image that left; its gradient is that of training without it."""
    found = []
    for dense in (True, False):
        margins = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (-1.0, 1.0, 1.0)]
        block = make_block()
        block.gate = ScriptedGate(margins)
        block.set_dense(dense)
        gradients_after(block, images(4))
        assert margins[0].grad is not None
        found.append(margins[0].grad)
    torch.testing.assert_close(found[0], found[1])
