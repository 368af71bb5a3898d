"""The thresholds of all gates of a network: read, set, and moved for a while."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import nn

from drnn.core.gates import gates_of


def thresholds_of(model: nn.Module) -> dict[str, float]:
    """Of every gate by its module name, in the margin's units, see `Gate`; in the order in which images meet them."""
    return {name: float(gate.threshold) for name, gate in gates_of(model).items()}


def set_thresholds(model: nn.Module, thresholds: Mapping[str, float]) -> None:
    """Set the threshold of every gate by its module name; the weights stay as they are.

    Raises:
        ValueError: thresholds of other gates than the model's; nothing has been changed then.
    """
    gates = gates_of(model)
    if gates.keys() != thresholds.keys():
        odd = sorted(gates.keys() ^ thresholds.keys())
        raise ValueError(
            f"thresholds of {len(thresholds)} gates received for a network of {len(gates)}; {odd[:3]} differ first, "
            "give one for each gate"
        )
    for name, gate in gates.items():
        gate.threshold.fill_(thresholds[name])


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
            gate.threshold.copy_(threshold)
