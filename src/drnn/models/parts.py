"""Norms and gates by name, as the model registry writes them."""

from collections.abc import Callable

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


def choose(kind: str, options: dict, name: str):
    """The option of that name, or an error that lists them all."""
    if name not in options:
        raise ValueError(f"{kind} {name!r} received; choose one of {', '.join(map(repr, options))}")
    return options[name]


def recursive(
    make_body: Callable[..., nn.Module],
    channels: int,
    num_loops: int,
    norm: str,
    gate: str | None,
    noise: str,
) -> RecursiveBlock:
    """A recursive block of ``channels`` C from named parts.

    Args:
        make_body: called with ``norm=``, a factory of norms by width.
        channels: C of the input, and of the output.
        num_loops: L.
        norm: a name of `NORMS`.
        gate: a name of `SCORERS`; None leaves every loop open.
        noise: a name of `DECISIONS`.

    Raises:
        ValueError: a name that is not known.
    """
    make_norm = choose("norm", NORMS, norm)
    body = make_body(norm=lambda width: make_norm(width, num_loops))
    if gate is None:
        return RecursiveBlock(body, OpenGate(), num_loops)
    scorer, decide = choose("gate", SCORERS, gate)(channels), choose("gate_noise", DECISIONS, noise)()
    return RecursiveBlock(body, Gate(scorer, decide), num_loops)
