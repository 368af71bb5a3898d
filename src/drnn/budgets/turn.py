"""Turn the gates of a network until given images cost what is asked for."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from torch import Tensor, nn

from drnn.budgets.budget import refuse_static
from drnn.budgets.dial import Dial, Prepare, Scope
from drnn.budgets.latency import macs_between, mean_ms
from drnn.budgets.request import Request
from drnn.budgets.search import Thresholds, mean_macs, search
from drnn.core import set_thresholds, thresholds_of
from drnn.costs import Costs, count_costs
from drnn.inference import optimize
from drnn.models import Classifier
from drnn.models.counterparts import counterpart
from drnn.models.refusals import refuse_other_models, refuse_training

TIMED = 100  # images, for a budget in milliseconds


class Turned(NamedTuple):
    """Thresholds by the names of their gates, and what was found with them on the images, as a `Budget` keeps it."""

    thresholds: Thresholds
    found: dict


def turn_gates(
    model: nn.Module,
    images: Tensor,
    request: Request,
    scope: Scope = "global",
    prepare: Prepare = lambda x: x,
) -> Turned:
    """Set the thresholds of a network so that these images cost, on average, what is asked for.

    Args:
        model: a network in evaluation mode, with gates: of `drnn.models` or, but for a request in milliseconds, any
            other with recursive blocks in it.
        images: ``(N, C, H, W)`` on the network's device, not of the test.
        request: the mean per image to meet. A share is one of the static counterpart's cost, or of the network's own
            with every loop where it has none.
        scope: one threshold for all gates, or one each.
        prepare: what images go through before the network sees them.

    Raises:
        TypeError: images that are no batch, or milliseconds asked for of another network than those of `drnn.models`.
        ValueError: as `drnn.budgets.calibrate.calibrate`, or a network in training mode; the thresholds are as they
            were then.

    Example:
        >>> import torch, drnn
        >>> model = drnn.create_model("dr_resnet_digits").eval()
        >>> turned = turn_gates(model, torch.randn(64, 1, 8, 8), Request(4e6, "macs"))
        >>> abs(turned.found["macs_mean"] / 4e6 - 1) < 0.02
        True
    """
    if not isinstance(images, Tensor) or images.dim() != 4:
        raise TypeError(f"{type(images).__qualname__} received for images; give a tensor (N, C, H, W)")
    if request.unit == "ms":
        refuse_other_models(model, "a budget in milliseconds")
    refuse_static(model)
    refuse_training(model, "its norms would take the statistics of the images")
    before = thresholds_of(model)
    try:
        turned = _turned(model, images, request, scope, prepare)
    except BaseException:
        set_thresholds(model, before)
        raise
    set_thresholds(model, turned.thresholds)
    return turned


def _turned(model: nn.Module, images: Tensor, request: Request, scope: Scope, prepare: Prepare) -> Turned:
    timed = prepare(images[:TIMED])
    _, channels, height, width = timed.shape
    costs = count_costs(model, (channels, height, width))
    dial = Dial(model, images, prepare, scope)

    @cache
    def deployed() -> Classifier:
        assert isinstance(model, Classifier)  # or milliseconds were refused
        return optimize(model)

    def time_at(thresholds: Thresholds) -> float:
        set_thresholds(deployed(), thresholds)
        return mean_ms(deployed(), timed)

    static_macs = counterpart_macs(model, costs)
    target = macs_for(request, dial, costs, static_macs, time_at)
    found = search(dial, costs, target)
    kept = {
        "scope": scope,
        "device": str(images.device),
        "images": len(images),
        "macs_target": target,
        "macs_mean": found.macs,
    }
    if request.unit == "ms":
        kept |= {"ms_mean": time_at(found.thresholds), "ms_images": len(timed)}
    return Turned(found.thresholds, {**kept, "static_macs": static_macs})


def macs_for(
    request: Request, dial: Dial, costs: Costs, static_macs: int, time_at: Callable[[Thresholds], float]
) -> float:
    """The request in multiply-adds; milliseconds become so by timing this machine at both ends of the dial."""
    if request.unit == "macs":
        return request.value
    if request.unit == "share":
        return request.value * static_macs
    ends = [dial.thresholds(position) for position in (0.0, 1.0)]
    return macs_between(request.value, *((time_at(end), mean_macs(dial, costs, end)) for end in ends))


def counterpart_macs(model: nn.Module, own: Costs) -> int:
    """Multiply-adds of one image in the static counterpart; in the network with all loops where it has none.

    Example:
        >>> import drnn
        >>> model = drnn.create_model("dr_resnet53")
        >>> counterpart_macs(model, count_costs(model))
        7570194432
    """
    static = counterpart(model) if isinstance(model, Classifier) else None
    return own.max_macs if static is None else count_costs(static).max_macs
