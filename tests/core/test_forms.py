"""Every fast form of the recursive block equals the slow obvious one: outputs, gradients, running statistics."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from drnn.core import GateRecord, target_rate_loss
from drnn.core.norms import DecisionBatchNorm2d

from .reference import SlowBlock, slow_rate_loss
from .small import images, make_block

PATTERNS = st.sampled_from([None, None, None, 5.0, -5.0])


def assert_same(got, expected, what):
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9, msg=lambda text: f"{what}: {text}")


def slow_training(block, x, weight):
    """Outputs, gradients and running statistics of the slow version."""
    slow, x = SlowBlock(block), x.clone().requires_grad_()
    y, decisions = slow.train(x)
    block.zero_grad()
    ((y * weight).sum() + slow_rate_loss(decisions, 0.7)).backward()
    gradients = {name: p.grad for name, p in block.named_parameters()}
    statistics = [norm.running for part in slow.norms for norm in part]
    block.zero_grad()
    return y.detach(), x.grad, copy.copy(gradients), statistics


def fast_training(block, x, weight):
    """The same of the block itself."""
    block, x = copy.deepcopy(block).train(), x.clone().requires_grad_()
    y, record = block.forward_with_gates(x)
    ((y * weight).sum() + target_rate_loss(record, 0.7)).backward()
    gradients = {name: p.grad for name, p in block.named_parameters()}
    norms = [
        m for part in (block.body.bn1, block.body.bn2) for m in part.modules() if isinstance(m, DecisionBatchNorm2d)
    ]
    statistics = [{name: b for name, b in norm.named_buffers() if "num_batches" not in name} for norm in norms]
    return y.detach(), x.grad, gradients, statistics


def compare(fast, slow):
    assert_same(fast[0], slow[0], "outputs")
    assert_same(fast[1], slow[1], "gradient of the input")
    for name, gradient in slow[2].items():
        assert_same(fast[2][name], torch.zeros_like(fast[2][name]) if gradient is None else gradient, name)
    for got, expected in zip(fast[3], slow[3], strict=True):
        for name in expected:
            assert_same(got[name], expected[name], name)


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 6),
    channels=st.sampled_from([1, 4]),
    loops=st.integers(1, 4),
    size=st.sampled_from([1, 3]),
    opening=PATTERNS,
    dense=st.booleans(),
    seed=st.integers(0, 100),
)
def test_training_equals_the_slow_version(count, channels, loops, size, opening, dense, seed):
    block = make_block(channels, loops, seed=seed, opening=opening)
    x = images(count, channels, size, seed)
    weight = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    slow = slow_training(block, x, weight)
    block.set_dense(dense)
    compare(fast_training(block, x, weight), slow)


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 6), loops=st.integers(1, 4), opening=PATTERNS, dense=st.booleans(), seed=st.integers(0, 100)
)
def test_evaluation_equals_the_slow_version(count, loops, opening, dense, seed):
    block, x = make_block(4, loops, seed=seed, opening=opening).eval(), images(count, seed=seed)
    expected, taken = SlowBlock(block).evaluate(x)
    block.set_dense(dense)
    y, record = block.forward_with_gates(x)
    assert_same(y, expected, "outputs")
    assert record.executed.sum(1).tolist() == taken


def test_the_comparison_can_fail():
    """A norm that takes its statistics over the whole batch is noticed."""

    class WholeBatch(DecisionBatchNorm2d):
        def forward(self, input, loop=0, groups=None):
            return torch.nn.BatchNorm2d.forward(self, input)

    block, x = make_block(seed=3), images(6, seed=3)
    weight = torch.ones_like(x)
    slow = slow_training(block, x, weight)
    for norm in block.modules():
        if isinstance(norm, DecisionBatchNorm2d):
            norm.__class__ = WholeBatch
    with pytest.raises(AssertionError):
        compare(fast_training(block, x, weight), slow)


def test_dense_and_arrivals_leave_the_same_record(block):
    x, records = images(6), []
    for dense in (True, False):
        block.set_dense(dense)
        records.append(copy.deepcopy(block).forward_with_gates(x)[1])
    for dense, arrivals in zip(*records, strict=True):
        torch.testing.assert_close(dense, arrivals)


def test_evaluation_has_the_same_gradients_masked_and_skipped(block):
    """Who leaves is then a fact, and no way to the input: saliency does not depend on the form."""
    block.eval()
    found = []
    for dense in (True, False):
        block.set_dense(dense)
        x = images(6).requires_grad_()
        y, record = block.forward_with_gates(x)
        (gradient,) = torch.autograd.grad(y.square().sum(), x)
        found.append(gradient)
    assert 0 < record.executed.sum() < record.executed.numel()
    assert_same(found[0], found[1], "gradient of the input")


def test_gates_that_stand_in_evaluation_get_the_same_gradients_masked_and_skipped(block):
    """As somebody may put them while the block trains, to have no noise."""
    found = []
    for dense in (True, False):
        twin = copy.deepcopy(block).train()
        twin.gate.eval()
        twin.set_dense(dense)
        x = images(6).requires_grad_()
        twin(x).square().sum().backward()
        found.append([x.grad, *(parameter.grad for parameter in twin.gate.parameters())])
    for dense, skipped in zip(*found, strict=True):
        assert_same(dense, skipped, "gradients")


def test_the_scattered_gate_is_worth_testing_with():
    """The patterns above hold images that leave at different loops, or the tests would prove little."""
    seen = set()
    for seed in range(10):
        _, record = make_block(seed=seed).eval().forward_with_gates(images(6, seed=seed))
        seen |= set(record.executed.sum(1).tolist())
    assert seen == {0, 1, 2, 3}


def test_only_executing_images_are_computed_in_evaluation(block):
    block.eval()
    sizes = []
    block.body.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))
    _, record = block.forward_with_gates(images(6))
    assert sizes == [count for count in record.executed.sum(0).tolist() if count]


def test_training_computes_those_that_arrive_and_differentiates_those_that_execute(block):
    sizes = {True: [], False: []}
    block.body.register_forward_pre_hook(lambda _, given: sizes[torch.is_grad_enabled()].append(len(given[0])))
    _, record = block.forward_with_gates(images(6))
    assert sizes[True] == record.executed.sum(0).tolist()
    leaves = (record.arrived & ~record.executed).sum(0).tolist()
    assert sizes[False] == [count for count in leaves if count]


def test_record_says_who_arrived(block):
    _, record = block.forward_with_gates(images(6))
    assert isinstance(record, GateRecord)
    assert record.arrived[:, 0].all()
    assert torch.equal(record.arrived[:, 1:], record.executed[:, :-1])
    assert torch.equal(record.decision.detach() == 1, record.executed)
    assert (record.probability[~record.arrived] == 0).all()
