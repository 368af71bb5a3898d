"""Find the thresholds that meet a budget, on training images."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch

from drnn.costs import Costs, count_costs
from drnn.data import Normalize, hold_out
from drnn.inference.budget import Budget, fingerprint
from drnn.inference.counterparts import static_macs
from drnn.inference.dial import Dial, Scope
from drnn.inference.request import Request
from drnn.models import Classifier
from drnn.provenance import environment
from drnn.timing import seconds
from drnn.training.checkpoint import load_run

STEPS = 12  # halvings of the dial: steps of a 4096th of the images
CLOSE = 0.003  # of the target: near enough
Thresholds = dict[str, float]


def calibrate(
    folder: Path, request: Request, scope: Scope = "global", images: int = 1000, data_root: str | None = None
) -> Budget:
    """Thresholds for a finished run, found on ``images`` of its training images; the weights stay as they are.

    Args:
        folder: the run.
        request: the mean per image to meet.
        scope: one threshold for all gates, or one each.
        images: how many training images to look at, at most.
        data_root: where the data set is, if not where the recipe says.

    Raises:
        ValueError: a request that no threshold can meet; the message has the range. Or a network without gates.
        FileNotFoundError: no finished run.
    """
    model, recipe, dataset = load_run(folder, data_root)
    normalize = Normalize(dataset.mean, dataset.std)
    held = hold_out(dataset, min(images, dataset.num_train - 1)).test_images
    costs = count_costs(model, dataset.image_size)
    dial = Dial(model, held, normalize, scope)
    target = macs_for(request, dial, costs, normalize(held[:1]))
    thresholds, spent = search(dial, costs, target)
    kept = {"scope": scope, "images": len(held), "macs_target": target, "macs_mean": spent}
    return Budget(
        recipe.model, thresholds, asdict(request), {**kept, "static_macs": static_macs(model)},
        fingerprint(folder), environment(),
    )  # fmt: skip


def mean_macs(dial: Dial, costs: Costs, thresholds: Thresholds) -> float:
    """Mean multiply-adds of the dial's images at these thresholds."""
    return float(costs.macs_per_image(dial.turn(thresholds)).double().mean())


def search(dial: Dial, costs: Costs, target: float) -> tuple[Thresholds, float]:
    """Turn the dial towards ``target`` mean multiply-adds; the best thresholds seen, and what they cost.

    A gate that answers all images alike makes the mean jump over the target at one position of the dial. Then all gates
    stay just below the jump, and one of them after the other is opened further until the mean fits.

    Raises:
        ValueError: a target outside what the network can do.
    """
    spend = partial(mean_macs, dial, costs)
    low, high = spend(dial.thresholds(0.0)), spend(dial.thresholds(1.0))
    if not low * 0.98 <= target <= high * 1.02:
        raise ValueError(
            f"{target / 1e6:.2f} M multiply-adds an image were asked for; this network spends {low / 1e6:.2f} M with "
            f"all gates closed and {high / 1e6:.2f} M with all open"
        )
    best, below = halve(dial.thresholds, spend, target)
    for gate in reversed(below):
        if best.missed <= CLOSE:
            break
        at = partial(lambda position, gate: dial.with_one_at(gate, position, below), gate=gate)
        best = min(best, halve(at, spend, target)[0], key=lambda found: found.missed)
    return best.thresholds, best.macs


@dataclass(frozen=True)
class Found:
    """Thresholds, their mean multiply-adds, and by what share these miss the target."""

    thresholds: Thresholds
    macs: float
    missed: float


def halve(
    at: Callable[[float], Thresholds], spend: Callable[[Thresholds], float], target: float
) -> tuple[Found, Thresholds]:
    """Halve the positions 0..1 of ``at`` towards a target; the best found, and the last that spent less."""
    left, right, below = 0.0, 1.0, at(0.0)
    seen = [Found(at(end), spent := spend(at(end)), abs(spent / target - 1)) for end in (0.0, 1.0)]
    for _ in range(STEPS):
        middle = (left + right) / 2
        thresholds = at(middle)
        spent = spend(thresholds)
        seen.append(Found(thresholds, spent, abs(spent / target - 1)))
        if seen[-1].missed < CLOSE:
            break
        if spent < target:
            left, below = middle, thresholds
        else:
            right = middle
    return min(seen, key=lambda found: found.missed), below


def macs_for(request: Request, dial: Dial, costs: Costs, image: torch.Tensor) -> float:
    """The request in multiply-adds; milliseconds become so by timing this machine at both ends of the dial."""
    if request.unit == "macs":
        return request.value
    if request.unit == "share":
        return request.value * static_macs(dial.model)
    ends = []
    for position in (0.0, 1.0):
        macs = mean_macs(dial, costs, dial.thresholds(position))
        ends.append((time_ms(dial.model, image), macs))
    (fast, low), (slow, high) = ends
    if not fast * 0.98 <= request.value <= slow * 1.02:
        raise ValueError(
            f"{request.value} ms an image were asked for; on this machine, at batch 1, this network takes "
            f"{fast:.3f} ms with all gates closed and {slow:.3f} ms with all open"
        )
    return low + (request.value - fast) / (slow - fast) * (high - low)


@torch.inference_mode()
def time_ms(model: Classifier, image: torch.Tensor, rounds: int = 40) -> float:
    """Median milliseconds of one image ``(1, C, H, W)``."""
    times = sorted(seconds(lambda _: model(image)) for _ in range(rounds))
    return times[len(times) // 2] * 1e3
