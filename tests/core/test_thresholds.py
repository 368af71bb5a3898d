"""Thresholds of a network's gates: set all or none, and put back to the bit whatever happens meanwhile."""

import math

import pytest
import torch

from drnn.core import gates_of, set_thresholds, thresholds_at, thresholds_of
from drnn.models import create_model

TURNED = {"layer2.1.gate": 0.1, "layer3.1.gate": -math.inf}  # .1 is no float32


@pytest.fixture
def model():
    made = create_model("dr_resnet16_cifar").eval()
    set_thresholds(made, TURNED)
    return made


def test_thresholds_are_read_as_they_are_held(model):
    assert thresholds_of(model) == {"layer2.1.gate": float(torch.tensor(0.1)), "layer3.1.gate": -math.inf}
    before = thresholds_of(model)
    set_thresholds(model, before)
    assert thresholds_of(model) == before


@pytest.mark.parametrize("wrong", [{}, {"layer2.1.gate": 1.0}, {**TURNED, "fc": 1.0}])
def test_thresholds_of_other_gates_are_refused_and_change_nothing(wrong, model):
    before = thresholds_of(model)
    with pytest.raises(ValueError, match=f"thresholds of {len(wrong)} gates received for a network of 2; .* each gate"):
        set_thresholds(model, wrong)
    assert thresholds_of(model) == before


@pytest.mark.parametrize(
    "wrong", [math.nan, "x", None, 1e300, 10**400, torch.zeros(2)], ids=lambda wrong: str(wrong)[:6]
)
def test_a_threshold_that_is_no_number_is_refused_before_the_first_gate_changes(wrong, model):
    before = thresholds_of(model)
    with pytest.raises(ValueError, match=r"received for layer3\.1\.gate; give a number that torch\.float32 holds"):
        set_thresholds(model, {"layer2.1.gate": 2.0, "layer3.1.gate": wrong})
    assert thresholds_of(model) == before


def test_a_threshold_may_be_any_kind_of_number(model):
    set_thresholds(model, {"layer2.1.gate": 2, "layer3.1.gate": torch.tensor(0.5)})
    assert list(thresholds_of(model).values()) == [2.0, 0.5]


@pytest.mark.parametrize(("value", "loops"), [(math.inf, 0), (-math.inf, 4)])
def test_thresholds_move_for_a_while(value, loops, model):
    before = thresholds_of(model)
    with thresholds_at(model, value):
        _, record = model.forward_with_gates(torch.randn(3, 3, 32, 32))
    assert record.executed.sum(1).tolist() == [loops] * 3
    assert thresholds_of(model) == before


def turn_and_fail(model):
    with thresholds_at(model, 1.0):
        set_thresholds(model, dict.fromkeys(TURNED, 2.0))
        raise RuntimeError("within")


def test_thresholds_come_back_after_an_error_and_after_other_turns(model):
    before = thresholds_of(model)
    with pytest.raises(RuntimeError, match="within"):
        turn_and_fail(model)
    assert thresholds_of(model) == before


def test_thresholds_come_back_where_a_gate_cannot_be_turned(model, monkeypatch):
    """The first gate is turned when the second one fails."""
    before, (_, last) = thresholds_of(model), gates_of(model).values()
    held = last.threshold
    last.threshold = torch.zeros((), requires_grad=True)  # in place only without gradients
    with pytest.raises(RuntimeError, match="leaf"), thresholds_at(model, 1.0):
        pytest.fail("no gate may be left where it was")
    last.threshold = held
    assert thresholds_of(model) == before


def test_thresholds_without_numbers_move_too():
    model = create_model("dr_resnet16_cifar").to("meta")
    with thresholds_at(model, 1.0):
        assert {gate.threshold.device.type for gate in gates_of(model).values()} == {"meta"}


def test_networks_made_in_inference_mode_can_be_turned_outside_it():
    with torch.inference_mode():
        model = create_model("dr_resnet_digits", width=4)
    set_thresholds(model, dict.fromkeys(gates_of(model), 0.5))
    with thresholds_at(model, 2.0):
        assert set(thresholds_of(model).values()) == {2.0}
    assert set(thresholds_of(model).values()) == {0.5}


def test_thresholds_are_zero_after_memory_came_without_values(monkeypatch):
    """As of a network that is made on the meta device and filled with weights, which hold no thresholds."""
    weights = create_model("dr_resnet_digits", width=4).state_dict()
    monkeypatch.setattr(torch, "empty_like", lambda x, **how: torch.full_like(x, 7, **how))
    with torch.device("meta"):
        model = create_model("dr_resnet_digits", width=4)
    model = model.to_empty(device="cpu")
    model.load_state_dict(weights)
    assert set(thresholds_of(model).values()) == {0.0}
    counts = [value for name, value in model.named_buffers() if name.endswith("skipped_num_batches_tracked")]
    assert {int(count) for count in counts} == {0}
