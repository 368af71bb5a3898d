"""All gates turned together, from closed to open."""

import pytest
import torch

from drnn.budgets import apply_budget
from drnn.budgets import dial as dials
from drnn.budgets.dial import Dial
from drnn.budgets.search import mean_macs
from drnn.core import AlwaysNoisy, Deterministic, gates_of
from drnn.costs import count_costs
from drnn.data import Normalize, load_dataset
from drnn.models import create_model
from drnn.training.checkpoint import load_run


@pytest.fixture(scope="module")
def dial(run):
    model, _, data = load_run(run)
    return Dial(model, data.train_images[:300], Normalize(data.mean, data.std))


def test_the_dial_goes_from_closed_to_open_and_never_back(dial):
    costs = count_costs(dial.model)
    spent = [mean_macs(dial, costs, dial.thresholds(position / 10)) for position in range(11)]
    assert spent == sorted(spent)
    assert spent[0] == costs.expected_macs(0)
    assert spent[-1] == costs.max_macs
    assert len(set(spent)) > 5


def test_gates_with_noise_in_evaluation_turn_alike_each_time():
    torch.manual_seed(0)
    model, data = create_model("dr_resnet_digits", gate_noise="always").eval(), load_dataset("digits")
    normalize, costs = Normalize(data.mean, data.std), count_costs(model)
    found = []
    for _ in range(2):
        torch.rand(3)  # what was drawn before does not matter
        dial = Dial(model, data.train_images[:50], normalize)
        found.append((dial.thresholds(0.5), mean_macs(dial, costs, dial.thresholds(0.5))))
    assert found[0] == found[1]
    assert costs.expected_macs(0) < found[0][1] < costs.max_macs


def test_a_dial_that_was_only_made_has_turned_nothing(run, monkeypatch):
    model, _, data = load_run(run)
    before = dict.fromkeys(gates_of(model), 0.25)
    apply_budget(model, before)
    monkeypatch.setattr(dials, "MOST_MARGINS", 100)
    made = Dial(model, data.train_images[:300], Normalize(data.mean, data.std))
    assert {name: float(gate.threshold) for name, gate in gates_of(model).items()} == before
    assert {len(margins) for margins in made.margins.values()} == {90}  # every tenth of 3 loops' and 300 images'


class Tempered(Deterministic):
    """A way of deciding of one's own: at a temperature, and with a preference."""

    def disturb(self, margin):
        return margin / 5 + 0.4


@pytest.mark.parametrize("decide", [AlwaysNoisy, Tempered])
def test_gates_are_turned_by_the_margins_that_decide(decide, run):
    model, _, data = load_run(run)
    for gate in gates_of(model).values():
        gate.decide = decide()
    dial, costs = Dial(model, data.train_images[:300], Normalize(data.mean, data.std)), count_costs(model)
    spent = [mean_macs(dial, costs, dial.thresholds(position / 10)) for position in range(11)]
    assert spent[0] == costs.expected_macs(0)
    assert spent[-1] == costs.max_macs
    steps = torch.tensor(spent, dtype=torch.float64).diff() / costs.max_macs
    assert steps.min() > 0.0
    assert steps.max() < 0.4


def test_a_fresh_convnet_aig_is_turned_though_its_gates_know_nothing_yet():
    torch.manual_seed(0)
    model, data = create_model("resnet_digits", residual="aig", target_rate=0.7).eval(), load_dataset("digits")
    dial, costs = Dial(model, data.train_images[:200], Normalize(data.mean, data.std)), count_costs(model)
    middle = mean_macs(dial, costs, dial.thresholds(0.3))
    assert 1.1 * costs.expected_macs(0) < middle < 0.4 * costs.max_macs
