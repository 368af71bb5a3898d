"""Norms and gates by name, as the model registry writes them."""

from collections.abc import Callable, Iterable

from torch import nn

from drnn.core import (
    AlwaysNoisy,
    Deterministic,
    Gate,
    HiddenScorer,
    ILVBN2d,
    LinearScorer,
    LVBN2d,
    OpenGate,
    RecursiveBlock,
    SharedBatchNorm2d,
    TrainingNoise,
)

NORMS: dict[str, Callable[[int, int], nn.Module]] = {
    "shared": lambda channels, num_loops: SharedBatchNorm2d(channels),
    "lvbn": LVBN2d,
    "ilvbn": ILVBN2d,
}
SCORERS: dict[str, Callable[[int], nn.Module]] = {"hidden": HiddenScorer, "linear": LinearScorer}
DECISIONS: dict[str, type[Deterministic]] = {"none": Deterministic, "training": TrainingNoise, "always": AlwaysNoisy}


def check_name(kind: str, name: object, known: Iterable) -> None:
    """ValueError for a name that is not known; it lists those that are."""
    if name not in (names := list(known)):
        raise ValueError(f"{kind} {name!r} received; choose one of {', '.join(map(repr, names))}")


def check_parts(norm: str, gate: str | None, noise: str) -> None:
    """ValueError for a name that `recursive` does not know."""
    check_name("norm", norm, NORMS)
    check_name("gate", gate, (*SCORERS, None))
    check_name("gate_noise", noise, DECISIONS)


def recursive(
    make_body: Callable[..., nn.Module],
    channels: int,
    num_loops: int,
    norm: str,
    gate: str | None,
    noise: str,
) -> RecursiveBlock:
    """A recursive block of ``channels`` C from named parts, which `check_parts` knows.

    Args:
        make_body: called with ``norm=``, a factory of norms by width.
        channels: C of the input, and of the output.
        num_loops: L.
        norm: a name of `NORMS`.
        gate: a name of `SCORERS`; None leaves every loop open.
        noise: a name of `DECISIONS`.
    """
    make_norm = NORMS[norm]
    body = make_body(norm=lambda width: make_norm(width, num_loops))
    if gate is None:
        return RecursiveBlock(body, OpenGate(), num_loops)
    return RecursiveBlock(body, Gate(SCORERS[gate](channels), DECISIONS[noise]()), num_loops)
