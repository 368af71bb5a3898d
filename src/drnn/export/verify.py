"""An exported network beside the original, before it is written: a wrong file never reaches its place."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from drnn.core import Gate, GateRecord, gates_of, thresholds_at
from drnn.core.gates import GateDecision
from drnn.costs import Costs, count_costs
from drnn.export.network import looping_blocks, read_thresholds
from drnn.export.runner import Prediction
from drnn.models import Classifier

BATCHES = (1, 2, 7, 32)  # sizes of what is compared
OTHERS = 2  # images of each other size
TOLERANCE = 1e-4  # of an image's largest logit
TIE = 1e-5  # a margin this near its threshold, relative to 1 + threshold, may fall on either side

# images (N, C, H, W), thresholds (B,) -> logits (N, K), loops (N, B), macs (N,)
Answer = Callable[[Tensor, Tensor], tuple[np.ndarray, np.ndarray, np.ndarray]]


class Verified(NamedTuple):
    """The largest difference of a logit, as a share of its image's largest, and the images compared."""

    difference: float
    images: int


def verify(model: Classifier, answer: Answer, one_image: bool = False, any_size: bool = False) -> Verified:
    """Compare with ``model`` in evaluation: its own thresholds, all gates closed, mixed gates, all gates open.

    Loops and multiply-adds must be equal, logits within `TOLERANCE`; the batches are of `BATCHES` images, random, and
    differ much from image to image. With ``one_image`` as many come one by one; with ``any_size`` a few of
    `other_sizes` are compared too.

    Raises:
        ValueError: a difference; the message has the gates, the batch and what differs.
    """
    twin = deepcopy(model).cpu().eval()
    images = varied_images(sum(BATCHES), model.input_size)
    asked = [*images.split(1 if one_image else list(BATCHES))]
    costs = {tuple(model.input_size): count_costs(model)}
    for size in other_sizes(model) if any_size else ():
        asked += varied_images(OTHERS, size).split(1 if one_image else OTHERS)
        costs[size] = count_costs(model, size)
    worst = 0.0
    states = gate_states(twin, images)
    for state, thresholds in states.items():
        set_thresholds_by_block(twin, thresholds)
        for batch in asked:
            where = f"{state} gates, batch {len(batch)} of {'x'.join(map(str, batch.shape[1:]))}"
            worst = max(worst, _compare(twin, costs[tuple(batch.shape[1:])], answer, batch, thresholds, where))
    return Verified(worst, len(states) * sum(map(len, asked)))


def other_sizes(model: Classifier) -> tuple[tuple[int, int, int], ...]:
    """One larger than the network's own size and one smaller, neither square."""
    channels, height, width = model.input_size
    return (channels, 2 * height + 1, width + width // 2 + 1), (channels, height // 2 + 1, width // 4 + 1)


def varied_images(count: int, size: tuple[int, int, int]) -> Tensor:
    """Random images whose contrast rises from .2 to 3, so that gates disagree about them."""
    noise = torch.randn(count, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(1))
    return noise * torch.linspace(0.2, 3, count, dtype=torch.float32)[order][:, None, None, None]


def gate_states(model: Classifier, images: Tensor) -> dict[str, Tensor]:
    """Thresholds ``(B,)`` by name; only the network's own where it has no gate."""
    own = read_thresholds(model)
    if not any(isinstance(block.gate, Gate) for block in looping_blocks(model)):
        return {"own": own}
    closed = torch.full_like(own, torch.inf)
    return {"own": own, "stop": closed, "mixed": mixed_thresholds(model, images), "go": -closed}


def set_thresholds_by_block(model: Classifier, thresholds: Tensor) -> None:
    """Give each recursive block in order its threshold of ``(B,)``; that of a block without a gate is not used."""
    for block, value in zip(looping_blocks(model), thresholds, strict=True):
        if isinstance(block.gate, Gate):
            block.gate.threshold.copy_(value)


@torch.no_grad()
def mixed_thresholds(model: Classifier, images: Tensor) -> Tensor:
    """Thresholds ``(B,)`` in the widest gap of the middle half of the margins with which images reach each block.

    Where margins lie too near each other, as a fresh gate's may, blocks are open and closed in turn.
    """
    found: dict[Gate, Tensor] = {}

    def choose(gate: Gate, _, answer: GateDecision) -> GateDecision:
        if gate not in found:
            ranked = answer.deciding_margin.sort().values
            low, high = len(ranked) // 4, max(len(ranked) * 3 // 4, len(ranked) // 4 + 2)
            middle = ranked[low:high]
            gap, widest = middle.diff().max(0)
            between = (middle[widest] + middle[widest + 1]) / 2
            turn = torch.tensor(torch.inf if len(found) % 2 else -torch.inf, dtype=torch.float32)
            found[gate] = between if gap > 8 * TIE * (1 + between.abs()) else turn
        return GateDecision(answer.margin, answer.deciding_margin - found[gate])

    with thresholds_at(model, 0.0):
        run_with_hooks(model, images, lambda gate: gate.register_forward_hook(choose))
    gates = [block.gate for block in looping_blocks(model)]
    return torch.stack(
        [found[gate] if isinstance(gate, Gate) else torch.zeros((), dtype=torch.float32) for gate in gates]
    )


def run_with_hooks(model: Classifier, images: Tensor, register: Callable[[Gate], RemovableHandle]) -> None:
    """Run ``images`` through ``model`` with a hook at every gate, taken away again whatever happens."""
    handles = [register(gate) for gate in gates_of(model).values()]
    try:
        model(images)
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _compare(model: Classifier, costs: Costs, answer: Answer, images: Tensor, thresholds: Tensor, where: str) -> float:
    """The largest difference; an image on a tie may go either way, but one of the two ways it has to go."""
    got = Prediction(*answer(images, thresholds))
    expected = _expected(model, costs, images)
    if got.logits.shape != expected.logits.shape or got.loops.shape != expected.loops.shape:
        raise ValueError(
            f"{where}: the export gives logits {got.logits.shape} and loops {got.loops.shape}, {model.name} "
            f"{expected.logits.shape} and {expected.loops.shape}; nothing was written"
        )
    found = _differences(got, expected)
    for row in np.flatnonzero(~(found <= TOLERANCE)):
        one = Prediction(*(part[row : row + 1] for part in got))
        ways = [_expected(model, costs, images[row : row + 1]) for _ in _either_way(model, thresholds)]
        found[row] = min(_differences(one, way)[0] for way in ways)
    wrong = np.flatnonzero(~(found <= TOLERANCE))
    if len(wrong):
        row = wrong[0]
        off, most = np.abs(got.logits[row] - expected.logits[row]).max(), np.abs(expected.logits[row]).max()
        raise ValueError(
            f"{where}: {len(wrong)} images differ from {model.name}, first number {row}: loops {got.loops[row]} for "
            f"{expected.loops[row]}, macs {got.macs[row]} for {expected.macs[row]}, logits by {off:.1e} "
            f"where the largest is {most:.1e}; nothing was written"
        )
    return float(found.max(initial=0))


def _expected(model: Classifier, costs: Costs, images: Tensor) -> Prediction:
    logits, record = model.forward_with_gates(images)
    return Prediction(logits.numpy(), loops_per_block(model, record).numpy(), costs.macs_per_image(record).numpy())


def _differences(got: Prediction, expected: Prediction) -> np.ndarray:
    """Of each image's logits, as a share of its largest; infinite where loops or multiply-adds differ, ``(N,)``."""
    scale = np.maximum(np.abs(expected.logits).max(1), 1e-12)
    difference = np.abs(got.logits - expected.logits).max(1) / scale
    same = (got.loops == expected.loops).all(1) & (got.macs == expected.macs)
    return np.where(same & ~np.isnan(difference), difference, np.inf)


def _either_way(model: Classifier, thresholds: Tensor) -> Iterator[None]:
    """Move all thresholds down, then up, by what float32 cannot tell; then back."""
    step = 2 * TIE * (1 + thresholds.abs()).where(thresholds.isfinite(), 0)
    for moved in (thresholds - step, thresholds + step):
        set_thresholds_by_block(model, moved)
        yield
    set_thresholds_by_block(model, thresholds)


def loops_per_block(model: Classifier, record: GateRecord) -> Tensor:
    """Loops that each image executed in each recursive block, int64 ``(N, B)``."""
    slots = [block.num_loops for block in looping_blocks(model)]
    if not slots:
        return record.executed.long()
    return torch.stack([part.sum(1) for part in record.executed.split(slots, 1)], 1)
