"""The thresholds of all gates of a network: read, set, and moved for a while."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from drnn.core.gates import Gate, gates_of


def thresholds_of(model: nn.Module) -> dict[str, float]:
    """Of every gate by its module name, in the margin's units, see `Gate`; in the order in which images meet them."""
    return {name: float(gate.threshold) for name, gate in gates_of(model).items()}


def set_thresholds(model: nn.Module, thresholds: Mapping[str, float]) -> None:
    """Set the threshold of every gate by its module name; the weights stay as they are.

    Raises:
        ValueError: thresholds of other gates than the model's, or one that is no number or beyond the gate's dtype;
            nothing has been changed then.
    """
    gates = gates_of(model)
    if gates.keys() != thresholds.keys():
        odd = sorted(gates.keys() ^ thresholds.keys())
        raise ValueError(
            f"thresholds of {len(thresholds)} gates received for a network of {len(gates)}; {odd[:3]} differ first, "
            "give one for each gate"
        )
    numbers = [_number(name, gate, thresholds[name]) for name, gate in gates.items()]
    for gate, number in zip(gates.values(), numbers, strict=True):
        _set(gate, torch.full_like(gate.threshold, number))


def _number(name: str, gate: Gate, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last of a tensor of several
        number = math.nan
    dtype = gate.threshold.dtype
    if not (math.isinf(number) or abs(number) <= torch.finfo(dtype).max):  # nan is neither
        raise ValueError(
            f"threshold {value!r} received for {name}; give a number that {dtype} holds, or an infinite one that opens "
            "or closes the gate"
        )
    return number


@contextmanager
def thresholds_at(model: nn.Module, value: float) -> Iterator[None]:
    """Within ``with`` every gate is at ``value``; afterwards each is where it was, to the bit, whatever happened.

    -inf opens all gates, +inf closes them.
    """
    before = [(gate, gate.threshold.clone()) for gate in gates_of(model).values()]
    try:
        set_thresholds(model, dict.fromkeys(gates_of(model), value))
        yield
    finally:
        for gate, threshold in before:
            _set(gate, threshold)


@torch.inference_mode(False)
def _set(gate: Gate, threshold: torch.Tensor) -> None:
    """In place, for what was recorded with it; a network made in inference mode gets another."""
    if gate.threshold.is_inference():
        gate.threshold = threshold.clone()
    else:
        gate.threshold.copy_(threshold)
