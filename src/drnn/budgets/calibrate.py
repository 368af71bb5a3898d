"""Find the thresholds that meet a budget, on training images."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

from drnn.budgets.budget import Budget, refuse_static
from drnn.budgets.dial import Dial, Scope
from drnn.budgets.latency import macs_between, mean_ms
from drnn.budgets.request import Request
from drnn.core import set_thresholds
from drnn.costs import Costs, count_costs
from drnn.data import held_images
from drnn.data.transfer import to_device
from drnn.inference import optimize
from drnn.models import Classifier
from drnn.models.counterparts import counterpart
from drnn.provenance import environment
from drnn.training.checkpoint import load_run
from drnn.weights.files import fingerprint

STEPS = 12  # halvings of the dial: steps of a 4096th of the images
CLOSE, MOST_MISSED = 0.003, 0.02  # of the target: near enough to stop; too far to be kept
TIMED = 100  # images, for a budget in milliseconds
Thresholds = dict[str, float]


def calibrate(
    folder: Path,
    request: Request,
    scope: Scope = "global",
    images: int = 1000,
    data_root: str | None = None,
    device: str = "cpu",
) -> Budget:
    """Thresholds for a finished run, found on ``images`` of its training images; the weights stay as they are.

    Args:
        folder: the run.
        request: the mean per image to meet.
        scope: one threshold for all gates, or one each.
        images: how many training images to look at, at most.
        data_root: where the data set is, if not where the recipe says.
        device: where the images are run, and timed for a request in milliseconds: "cpu", "cuda", "auto", ...

    Returns:
        The thresholds, and what they cost on those images; for a request in milliseconds also ``ms_mean``, what was
        measured with these thresholds afterwards: of the optimised network, at batch 1, on `TIMED` of the images.

    Raises:
        ValueError: a request that no threshold meets to within `MOST_MISSED`; the message has what can be reached. Or a
            network without gates, no images, or a device that is not here.
        FileNotFoundError: no finished run.
    """
    if images < 1:
        raise ValueError(f"images {images} received; give 1 or more")
    run = load_run(folder, data_root, device=device)
    model, recipe, dataset = run
    refuse_static(model)
    held = to_device(held_images(dataset, images), next(model.parameters()).device)
    costs = count_costs(model, dataset.image_size)
    dial = Dial(model, held, run.normalize, scope)
    deployed, timed = cache(lambda: optimize(model)), run.normalize(held[:TIMED])

    def time_at(thresholds: Thresholds) -> float:
        set_thresholds(deployed(), thresholds)
        return mean_ms(deployed(), timed)

    target = macs_for(request, dial, costs, time_at)
    found = search(dial, costs, target)
    kept = {
        "scope": scope,
        "device": str(held.device),
        "images": len(held),
        "macs_target": target,
        "macs_mean": found.macs,
    }
    if request.unit == "ms":
        kept |= {"ms_mean": time_at(found.thresholds), "ms_images": len(timed)}
    return Budget(
        recipe.model, found.thresholds, asdict(request), {**kept, "static_macs": counterpart_macs(model)},
        fingerprint(folder), environment(held.device),
    )  # fmt: skip


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


def macs_for(request: Request, dial: Dial, costs: Costs, time_at: Callable[[Thresholds], float]) -> float:
    """The request in multiply-adds; milliseconds become so by timing this machine at both ends of the dial."""
    if request.unit == "macs":
        return request.value
    if request.unit == "share":
        return request.value * counterpart_macs(dial.model)
    ends = [dial.thresholds(position) for position in (0.0, 1.0)]
    return macs_between(request.value, *((time_at(end), mean_macs(dial, costs, end)) for end in ends))


def counterpart_macs(model: Classifier) -> int:
    """Multiply-adds of one image in the static counterpart; in the network with all loops where it has none.

    Example:
        >>> import drnn
        >>> counterpart_macs(drnn.create_model("dr_resnet53"))
        7570194432
    """
    return count_costs(counterpart(model) or model).max_macs
