"""One measurement: a recursive network against a static one, at one batch size."""

from dataclasses import asdict
from statistics import median

import torch
from torch import Tensor, nn

from drnn.bench.scripted_gate import Scripted
from drnn.bench.subjects import Case, build, macs_of, script_for, share_of_loops
from drnn.core import RecursiveBlock
from drnn.costs import count_costs
from drnn.models import Classifier, create_model
from drnn.timing import PairedTimes, time_pairs


@torch.inference_mode()
def measure(case: Case) -> dict:
    """Time the pair; plain numbers, as a result file keeps them.

    ``efficiency`` is the median over the pairs of (static s / ours) / (static MACs / ours executed in that very batch).
    ``limit`` is the same for a time on the straight line between the network without its recursive blocks and
    with every loop of every image and no gate: what is left of the efficiency when leaving costs nothing.
    """
    with torch.inference_mode(False):
        first, second = (build(name, case.form, case.seed) for name in (case.first, case.second))
        costs, static = count_costs(create_model(case.first)), count_costs(create_model(case.second)).max_macs
        script = script_for(case, first.target_rate or 1.0, costs.slots)
        scripted = Scripted(first, script, case.batch_size)
    x = torch.randn(case.batch_size, *first.input_size, generator=torch.Generator().manual_seed(case.seed))
    scripted.check(x)
    executed = [int(macs.sum()) for macs in macs_of(script, costs).split(case.batch_size)]
    times = time_scripted(scripted, second, x, case.rounds)
    ratios = [
        (theirs / ours) / (static * case.batch_size / macs)
        for ours, theirs, macs in zip(times.first_s, times.second_s, executed, strict=True)
    ]
    ends = time_ends(first, x, max(3, case.rounds // 2))
    mean = sum(executed) / len(script.loops)
    ideal = ends[0] + share_of_loops(script, costs) * (ends[1] - ends[0])
    return {
        **asdict(case),
        "images": len(script.loops),
        "mean_loops": float(script.totals.double().mean()),
        "std_loops": float(script.totals.double().std(correction=0)),
        "max_loops": sum(costs.slots),
        "macs_mean": mean,
        "static_macs": static,
        "fixed_macs": costs.fixed_macs,
        "latency_s": list(times.medians_s),
        "latency_p95_s": list(times.p95_s),
        "images_per_s": [case.batch_size / seconds for seconds in times.medians_s],
        "ratio": times.ratio,
        "efficiency": median(ratios),
        "ends_s": list(ends),
        "limit": (times.medians_s[1] / ideal) / (static / mean),
    }


def time_scripted(scripted: Scripted, second: nn.Module, x: Tensor, rounds: int) -> PairedTimes:
    """Both networks on x in pairs; pair i runs batch i of the script."""

    def ours(turn: int) -> None:
        scripted.prepare(max(turn, 0))
        scripted.model(x)

    return time_pairs(ours, lambda _: second(x), rounds, min(3, rounds))


def time_ends(model: Classifier, x: Tensor, rounds: int) -> tuple[float, float]:
    """Median seconds of ``model`` without its recursive blocks, and with every loop and no gate."""
    blocks = [block for block in model.modules() if isinstance(block, RecursiveBlock)]
    forwards = [block.forward for block in blocks]

    def closed(_: int) -> None:
        for block in blocks:
            block.forward = lambda x: x
        model(x)

    def opened(_: int) -> None:
        for block in blocks:
            block.forward = lambda x, block=block: every_loop(block, x)
        model(x)

    try:
        return time_pairs(closed, opened, rounds, min(2, rounds)).medians_s
    finally:
        for block, forward in zip(blocks, forwards, strict=True):
            block.forward = forward


def every_loop(block: RecursiveBlock, x: Tensor) -> Tensor:
    """All loops of a block for all images, no gate asked."""
    for loop in range(block.num_loops):
        x = block.body(x, loop, None)
    return x
