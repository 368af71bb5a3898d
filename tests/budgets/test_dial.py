"""All gates turned together, from closed to open."""

import pytest

from drnn.budgets import apply_budget
from drnn.budgets import dial as dials
from drnn.budgets.calibrate import mean_macs
from drnn.budgets.dial import Dial
from drnn.core import gates_of
from drnn.costs import count_costs
from drnn.data import Normalize
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


def test_a_dial_that_was_only_made_has_turned_nothing(run, monkeypatch):
    model, _, data = load_run(run)
    before = dict.fromkeys(gates_of(model), 0.25)
    apply_budget(model, before)
    monkeypatch.setattr(dials, "MOST_MARGINS", 100)
    made = Dial(model, data.train_images[:300], Normalize(data.mean, data.std))
    assert {name: float(gate.threshold) for name, gate in gates_of(model).items()} == before
    assert {len(margins) for margins in made.margins.values()} == {90}  # every tenth of 3 loops' and 300 images'
