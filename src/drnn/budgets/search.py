"""Turn a dial until the images cost what is asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from drnn.budgets.dial import Dial
from drnn.costs import Costs

STEPS = 12  # halvings of the dial: steps of a 4096th of the images
CLOSE, MOST_MISSED = 0.003, 0.02  # of the target: near enough to stop; too far to be kept
Thresholds = dict[str, float]


def mean_macs(dial: Dial, costs: Costs, thresholds: Thresholds) -> float:
    """Mean multiply-adds of the dial's images at these thresholds."""
    return float(costs.macs_per_image(dial.turn(thresholds)).cpu().double().mean())


@dataclass(frozen=True)
class Found:
    """Thresholds, their mean multiply-adds, and by what share these miss the target."""

    thresholds: Thresholds
    macs: float
    missed: float


def search(dial: Dial, costs: Costs, target: float) -> Found:
    """Turn the dial towards ``target`` mean multiply-adds; the best thresholds seen, and what they cost.

    A gate that answers all images alike makes the mean jump over the target at one position of the dial. Then all gates
    stay just below the jump, and one of them after the other is opened further until the mean fits.

    Raises:
        ValueError: a target outside what the network can do, or in a gap between costs that its gates can reach.
    """
    spend = partial(mean_macs, dial, costs)
    low, high = spend(dial.thresholds(0.0)), spend(dial.thresholds(1.0))
    if low > target * (1 + MOST_MISSED) or high < target * (1 - MOST_MISSED):
        raise ValueError(
            f"{target / 1e6:.2f} M multiply-adds an image were asked for; this network spends {low / 1e6:.2f} M with "
            f"all gates closed and {high / 1e6:.2f} M with all open"
        )
    seen, below = halve(dial.thresholds, spend, target)
    for gate in reversed(below):
        if _best(seen).missed <= CLOSE:
            break
        at = partial(lambda position, gate: dial.with_one_at(gate, position, below), gate=gate)
        seen += halve(at, spend, target)[0]
    best = _best(seen)
    if best.missed > MOST_MISSED:
        under = max(found.macs for found in seen if found.macs <= target)
        over = min(found.macs for found in seen if found.macs > target)
        raise ValueError(
            f"{target / 1e6:.3f} M multiply-adds an image were asked for, and no thresholds come within "
            f"{MOST_MISSED:.0%} of that: these gates answer many images alike. The nearest found are "
            f"{under / 1e6:.3f} M and {over / 1e6:.3f} M; ask for one of them, as --macs {under / 1e6:.3f}M, or try "
            "the other --scope"
        )
    return best


def _best(seen: list[Found]) -> Found:
    return min(seen, key=lambda found: found.missed)


def halve(
    at: Callable[[float], Thresholds], spend: Callable[[Thresholds], float], target: float
) -> tuple[list[Found], Thresholds]:
    """Halve the positions 0..1 of ``at`` towards a target; all that was seen, and the last that spent less."""
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
    return seen, below
