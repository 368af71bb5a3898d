"""One measurement: a recursive network against a static one, at one batch size."""

from dataclasses import asdict
from functools import partial
from statistics import median

import torch
from torch import Tensor, nn

from drnn.bench.memory import peak_bytes
from drnn.bench.scripted_gate import Scripted
from drnn.bench.subjects import (
    Case,
    build,
    costs_of,
    images_for,
    input_size_of,
    is_foreign,
    macs_of,
    script_for,
    share_of_loops,
    static_macs_of,
)
from drnn.core import RecursiveBlock
from drnn.models import Classifier
from drnn.timing import PairedTimes, time_pairs


@torch.inference_mode()
def measure(case: Case) -> dict:
    """Time the pair; plain numbers, as a result file keeps them.

    ``efficiency`` is the median over the pairs of (static s / ours) / (static MACs / ours executed in that very batch).
    ``limit`` is the same for a time on the straight line between the network without its recursive blocks and
    with every loop of every image and no gate: what is left of the efficiency when leaving costs nothing. Where the
    first network is a static one, of torchvision, it is timed all the same, without ends and limit.
    ``peak_bytes``: see `drnn.bench.memory.peak_bytes`, of the first batch of the script.
    """
    return measure_static(case) if is_foreign(case.first) else measure_recursive(case)


def measure_recursive(case: Case) -> dict:
    """A recursive network against a static one."""
    with torch.inference_mode(False):
        first, second = (build(name, case.form, case.seed, case.device) for name in (case.first, case.second))
        costs, static = costs_of(case.first), static_macs_of(case.second)
        script = script_for(case, first)
        scripted = Scripted(first, script, case.batch_size, case.device)
    x = images_for(case, first.input_size)
    scripted.check(x)
    executed = [int(macs.sum()) for macs in macs_of(script, costs).split(case.batch_size)]
    times, ends = time_rounds(scripted, second, x, case.rounds)
    mean, share = sum(executed) / len(script.loops), share_of_loops(script, costs)
    static_run = partial(run_static, second, x, 0)
    efficiency = [
        (theirs / ours) / (static * case.batch_size / macs)
        for ours, theirs, macs in zip(times.first_s, times.second_s, executed, strict=True)
    ]
    limit = [
        theirs / (closed + share * (opened - closed)) / (static / mean)
        for theirs, closed, opened in zip(times.second_s, ends.first_s, ends.second_s, strict=True)
    ]
    return {
        **_common(case, times, len(script.loops)),
        "peak_bytes": [peak_bytes(work) for work in (partial(run_script, scripted, x, 0, 0), static_run)],
        "mean_loops": float(script.totals.double().mean()),
        "std_loops": float(script.totals.double().std(correction=0)),
        "max_loops": sum(costs.slots),
        "macs_mean": mean,
        "static_macs": static,
        "fixed_macs": costs.fixed_macs,
        "efficiency": median(efficiency),
        "ends_s": list(ends.medians_s),
        "limit": median(limit),
    }


def measure_static(case: Case) -> dict:
    """A static network of torchvision against one of ours, plain against plain."""
    with torch.inference_mode(False):
        first, second = (build(name, case.form, case.seed, case.device) for name in (case.first, case.second))
        theirs, ours = static_macs_of(case.first), static_macs_of(case.second)
    x = images_for(case, input_size_of(case.second))
    times = time_pairs(partial(run_static, first, x), partial(run_static, second, x), case.rounds)
    pairs = zip(times.first_s, times.second_s, strict=True)
    return {
        **_common(case, times, case.batch_size * case.rounds),
        "peak_bytes": [peak_bytes(partial(run_static, model, x, 0)) for model in (first, second)],
        "mean_loops": 0.0,
        "std_loops": 0.0,
        "max_loops": 0,
        "macs_mean": theirs,
        "static_macs": ours,
        "fixed_macs": theirs,
        "efficiency": median((b / a) / (ours / theirs) for a, b in pairs),
        "ends_s": None,
        "limit": None,
    }


def _common(case: Case, times: PairedTimes, images: int) -> dict:
    return {
        **asdict(case),
        "images": images,
        "latency_s": list(times.medians_s),
        "latency_p95_s": list(times.p95_s),
        "images_per_s": [case.batch_size / seconds for seconds in times.medians_s],
        "ratio": times.ratio,
    }


def time_rounds(scripted: Scripted, second: nn.Module, x: Tensor, rounds: int) -> tuple[PairedTimes, PairedTimes]:
    """Ours against the static network, and the ends of our line, in turn: round i runs batch i of the script."""
    pairs, ends = [], []
    for turn in range(-1, rounds):  # one round to warm up
        ours, theirs = partial(run_script, scripted, x, max(turn, 0)), partial(run_static, second, x)
        pairs.append(time_pairs(ours, theirs, 1, 0) if turn % 2 else swapped(time_pairs(theirs, ours, 1, 0)))
        ends.append(time_ends(scripted.model, x))
    return tuple(  # type: ignore[return-value]
        PairedTimes(sum((t.first_s for t in kept[1:]), ()), sum((t.second_s for t in kept[1:]), ()))
        for kept in (pairs, ends)
    )


def swapped(times: PairedTimes) -> PairedTimes:
    """The other side first."""
    return PairedTimes(times.second_s, times.first_s)


def run_script(scripted: Scripted, x: Tensor, batch: int, _: int) -> None:
    """One batch of the script."""
    scripted.prepare(batch)
    scripted.model(x)


def run_static(model: nn.Module, x: Tensor, _: int) -> None:
    """One batch."""
    model(x)


def time_ends(model: Classifier, x: Tensor) -> PairedTimes:
    """Seconds of ``model`` without its recursive blocks, and with every loop and no gate; one pair."""
    blocks = [block for block in model.modules() if isinstance(block, RecursiveBlock)]

    def closed(_: int) -> None:
        for block in blocks:
            block.forward = lambda x: x
        model(x)

    def opened(_: int) -> None:
        for block in blocks:
            block.forward = partial(every_loop, block)
        model(x)

    try:
        return time_pairs(closed, opened, 1, 0)
    finally:
        for block in blocks:
            del block.forward


def every_loop(block: RecursiveBlock, x: Tensor) -> Tensor:
    """All loops of a block for all images, no gate asked."""
    for loop in range(block.num_loops):
        x = block.body(x, loop, None)
    return x
