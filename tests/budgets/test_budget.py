"""A budget travels through its file unchanged, and only fits the network and the weights it was found for."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import drnn
from drnn.budgets import Budget, apply_budget, read_budget, write_budget
from drnn.core import gates_of
from drnn.weights.files import fingerprint

GATES = ["layer2.1.gate", "layer3.1.gate"]


def budget_of(folder, thresholds):
    return Budget("dr_resnet16_cifar", thresholds, {"value": 0.8, "unit": "share"}, {}, fingerprint(folder), {})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    return tmp_path


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.floats(allow_nan=False, width=32), min_size=2, max_size=2))
def test_thresholds_survive_the_file(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("run")
    (folder / "model.safetensors").write_bytes(b"weights")
    budget = budget_of(folder, dict(zip(GATES, values, strict=True)))
    write_budget(str(folder), budget)
    assert read_budget(folder) == read_budget(str(folder)) == budget


def test_thresholds_reach_the_gates_and_leave_the_weights():
    model = drnn.create_model("dr_resnet16_cifar").eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(3, 3, 32, 32)
    for threshold, loops in ((math.inf, 0), (-math.inf, 4)):
        apply_budget(model, dict.fromkeys(GATES, threshold))
        assert model.forward_with_gates(x)[1].executed.sum(1).tolist() == [loops] * 3
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_budget_of_another_network_is_refused_and_changes_nothing():
    model = drnn.create_model("dr_resnet16_cifar")
    with pytest.raises(ValueError, match=r"of 1 gates .* network of 2; \['layer3\.1\.gate'\] .* drnn calibrate again"):
        apply_budget(model, {"layer2.1.gate": 1.0})
    assert [float(gate.threshold) for gate in gates_of(model).values()] == [0.0, 0.0]


def test_a_budget_without_numbers_is_refused_and_changes_nothing():
    model = drnn.create_model("dr_resnet16_cifar")
    for thresholds in (dict.fromkeys(GATES, math.nan), dict(zip(GATES, (2.0, "x"), strict=True))):
        with pytest.raises(ValueError, match=r"received for layer.*; give a number .* drnn calibrate again"):
            apply_budget(model, thresholds)
        assert [float(gate.threshold) for gate in gates_of(model).values()] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:40], "is damaged"),
        (lambda text: text.replace('"thresholds"', '"thresolds"'), "is damaged"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "has format 2, this version reads 1"),
        (lambda text: text.replace('"closed"', '"shut"'), "is damaged"),
        (lambda text: text.replace('"closed"', "NaN"), "no number"),
        (lambda text: text.replace('"closed"', "9" * 401), "is damaged"),
        (lambda text: json.dumps([1]), "is damaged"),
    ],
)
def test_damaged_budgets_are_named(folder, change, message):
    write_budget(folder, budget_of(folder, dict.fromkeys(GATES, math.inf)))
    file = folder / "budget.json"
    file.write_text(change(file.read_text()))
    with pytest.raises(ValueError, match=message):
        read_budget(folder)


def test_a_budget_of_other_weights_is_refused(folder):
    with pytest.raises(FileNotFoundError, match="drnn calibrate"):
        read_budget(folder)
    write_budget(folder, budget_of(folder, dict.fromkeys(GATES, 0.5)))
    (folder / "model.safetensors").write_bytes(b"others")
    with pytest.raises(ValueError, match="found for other weights"):
        read_budget(folder)
