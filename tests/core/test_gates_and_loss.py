"""Gates decide as they say, and the rate loss holds them to a rate."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from drnn.core import (
    AlwaysNoisy,
    Deterministic,
    Gate,
    GateRecord,
    HiddenScorer,
    LinearScorer,
    TrainingNoise,
    target_rate_loss,
)
from drnn.models.aig import AIGScorer


@pytest.mark.parametrize("scorer", [HiddenScorer, LinearScorer, AIGScorer])
def test_gates_start_by_executing_with_probability_85(scorer):
    torch.manual_seed(0)
    answer = Gate(scorer(8), Deterministic())(torch.randn(64, 8, 4, 4))
    torch.testing.assert_close(answer.probability, torch.full((64,), 0.85), rtol=0, atol=0.01)
    assert answer.executes.all()


def test_decision_is_exactly_zero_or_one_with_the_gradient_of_the_softmax():
    scores = torch.randn(200, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    answer = Deterministic()(scores)
    assert set(answer.decision.tolist()) == {0.0, 1.0}
    assert torch.equal(answer.decision.detach(), scores.argmax(1).float())  # index 1 = execute
    (through,) = torch.autograd.grad(answer.decision.sum(), scores)
    (soft,) = torch.autograd.grad(scores.softmax(1)[:, 1].sum(), scores)
    torch.testing.assert_close(through, soft)


def test_a_tie_leaves():
    assert not Deterministic()(torch.zeros(1, 2)).executes


@pytest.mark.parametrize(
    ("kind", "noisy"), [(Deterministic, (False, False)), (TrainingNoise, (True, False)), (AlwaysNoisy, (True, True))]
)
def test_noise_is_where_its_class_says(kind, noisy):
    torch.manual_seed(0)
    scores = torch.tensor([0.0, 1.7346]).repeat(20000, 1)  # probability .85
    decide = kind()
    for training, expected in zip((True, False), noisy, strict=True):
        rate = float(decide.train(training)(scores).executes.float().mean())
        assert rate == (pytest.approx(0.85, abs=0.01) if expected else 1.0)


def test_a_threshold_moves_decisions_in_evaluation_only():
    gate, x = Gate(LinearScorer(8), Deterministic()), torch.randn(64, 8, 2, 2)
    torch.nn.init.normal_(gate.scorer.fc.weight)
    margin = gate(x).margin
    gate.threshold.fill_(0.5)
    assert torch.equal(gate(x).executes, margin > 0)
    gate.eval()
    assert torch.equal(gate(x).executes, margin > 0.5)
    assert torch.equal(gate(x).margin, margin)
    for threshold, executes in ((torch.inf, False), (-torch.inf, True)):
        gate.threshold.fill_(threshold)
        assert gate(x).executes.eq(executes).all()
    assert "threshold" not in gate.state_dict()


def record_of(executed, arrived=None):
    executed = torch.tensor(executed, dtype=torch.bool)
    arrived = torch.ones_like(executed) if arrived is None else torch.tensor(arrived, dtype=torch.bool)
    decision = executed.float().requires_grad_()
    return GateRecord(arrived, executed, decision.detach(), decision)


def test_rate_at_target_gives_no_loss_and_no_gradient():
    record = record_of([[1]] * 7 + [[0]] * 3)
    loss = target_rate_loss(record, 0.7)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(record.decision.grad, torch.zeros(10, 1))


@given(st.integers(0, 5), st.floats(0, 1))
def test_rate_loss_in_closed_form(executing, target):
    record = record_of([[i < executing, False] for i in range(5)], [[True, i < executing] for i in range(5)])
    second = target**2 if executing else 0.0  # nobody reaches it: it adds nothing
    expected = ((executing / 5 - target) ** 2 + second) / 2
    assert target_rate_loss(record, target).item() == pytest.approx(expected, abs=1e-6)


def test_rate_loss_refuses_what_it_cannot_hold():
    with pytest.raises(ValueError, match="no loop slots"):
        target_rate_loss(record_of([[]]), 0.7)
    with pytest.raises(ValueError, match=r"target rate 1\.2"):
        target_rate_loss(record_of([[1]]), 1.2)


def test_the_rate_is_counted_exactly_in_half_precision():
    decision = torch.zeros(1001, 1, dtype=torch.bfloat16)
    decision[:699] = 1
    ones = torch.ones(1001, 1, dtype=torch.bool)
    record = GateRecord(decision=decision, probability=decision, executed=decision.bool(), arrived=ones)
    assert float(target_rate_loss(record, 0.7)) == pytest.approx((699 / 1001 - 0.7) ** 2, rel=1e-3)
