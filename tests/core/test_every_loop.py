"""A pass with every gate open: what recursion without gates computes, and statistics as they were."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from drnn.core import GateDecision, every_loop
from drnn.core.loops import Gated
from drnn.models import create_model, set_dense

from .small import images, make_block


def statistics(module):
    return {name: buffer.clone() for name, buffer in module.named_buffers()}


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("norm", ["shared", "lvbn", "ilvbn"])
def test_a_block_runs_as_one_without_a_gate(norm, dense):
    """Outputs and gradients, where its own gate sends some images away, closes to all, or opens to all."""
    for opening in (None, -5.0, 5.0):
        gated, plain = make_block(norm=norm, opening=opening).train(), make_block(norm=norm, gated=False).train()
        gated.set_dense(dense)
        plain.body.load_state_dict(gated.body.state_dict())
        x = images(6)
        with every_loop(gated):
            y, record = gated.forward_with_gates(x)
        (y**2).sum().backward()
        expected = plain(x)
        (expected**2).sum().backward()
        assert record.executed.all()
        torch.testing.assert_close(y, expected)
        for name, parameter in plain.named_parameters():
            torch.testing.assert_close(gated.get_parameter(name).grad, parameter.grad, msg=name)
        assert all(parameter.grad is None for parameter in gated.gate.parameters())


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("norm", ["shared", "lvbn", "ilvbn"])
def test_running_statistics_stay(norm, dense):
    """Counters too, in ordinary norms and in those that know of loops; what comes after moves them as ever."""
    block = make_block(norm=norm).train()
    block.set_dense(dense)
    twin, before = copy.deepcopy(block), statistics(block)
    with every_loop(block):
        block(images(6))
    after = statistics(block)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    block(images(6))
    twin(images(6))
    for name, value in statistics(twin).items():
        assert torch.equal(statistics(block)[name], value), name
        assert "running" not in name or not torch.equal(value, before[name]), name


def test_a_norm_with_one_value_uses_what_it_knows():
    block = make_block(norm="ilvbn").train()
    with every_loop(block):
        y = block(images(1, size=1))
    torch.testing.assert_close(y, make_block(norm="ilvbn", opening=5.0).train()(images(1, size=1)))


@pytest.mark.parametrize("name", ["dr_resnet16_cifar", "aig_resnet110_cifar"])
@pytest.mark.parametrize("dense", [False, True])
def test_whole_networks(name, dense):
    model = create_model(name).train()
    set_dense(model, dense)
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.out_features == 2:
            nn.init.constant_(module.bias, 0)
            nn.init.normal_(module.weight)
    before, x = statistics(model), torch.randn(8, 3, 32, 32)
    with every_loop(model):
        assert model.forward_with_gates(x)[1].executed.all()
    assert all(torch.equal(statistics(model)[key], value) for key, value in before.items())
    assert not model.forward_with_gates(x)[1].executed.all()


def test_all_is_as_before_after_an_error():
    block = make_block().train()
    with pytest.raises(ZeroDivisionError), every_loop(block):
        raise ZeroDivisionError
    assert not block.forward_with_gates(images(6))[1].executed.all()
    assert all(norm.track_running_stats for norm in block.modules() if isinstance(norm, nn.BatchNorm2d))


class Closed(nn.Module):
    """A gate of one's own."""

    def forward(self, x):
        return GateDecision(x.new_full((len(x),), -1.0), x.new_full((len(x),), -1.0))


def test_a_gate_of_ones_own_is_not_asked():
    block = make_block().train()
    block.gate = Closed()
    with every_loop(block):
        assert block.forward_with_gates(images(6))[1].executed.all()
    assert not block.forward_with_gates(images(6))[1].executed.any()


@pytest.mark.parametrize("dense", [False, True])
def test_the_form_may_be_chosen_meanwhile(dense):
    block, twin = make_block().train(), make_block().train()
    with every_loop(block):
        block.set_dense(dense)
    twin.set_dense(dense)
    assert (block.training_form, block.evaluation_form) == (twin.training_form, twin.evaluation_form)


def test_no_gradient_is_computed_for_an_answer_that_wants_none():
    gradient, y, x = (torch.randn(2, 3, 4, 4) for _ in range(3))
    for wanted in (False, True):
        ctx = SimpleNamespace(saved_tensors=(y, x), needs_input_grad=(True, False, False, wanted))
        first, *_, last = Gated.backward(ctx, gradient)
        assert first is gradient
        assert (last is not None) == wanted


def test_norms_that_are_no_batch_norms_are_left_alone():
    norm = nn.InstanceNorm2d(3, track_running_stats=True).eval()
    x = torch.randn(2, 3, 4, 4)
    expected = norm(x)
    with every_loop(norm):
        assert torch.equal(norm(x), expected)


def test_evaluation_executes_all_of_it_too():
    block = make_block(opening=-5.0).eval()
    with every_loop(block):
        _, record = block.forward_with_gates(images(6))
    assert record.executed.all()
