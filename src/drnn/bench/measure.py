"""One measurement: a recursive network against a static one, at one batch size."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from drnn.bench.memory import peak_bytes, weight_bytes
from drnn.bench.pairs import Pair, refuse_pair
from drnn.bench.scripted_gate import Scripted
from drnn.bench.subjects import (
    Case,
    build,
    costs_of,
    images_for,
    input_size_of,
    is_foreign,
    is_run,
    max_macs_of,
    script_for,
)
from drnn.bench.trained import trained_pair
from drnn.core import RecursiveBlock
from drnn.models import Classifier
from drnn.timing import PairedTimes, time_pairs
from drnn.weights.files import fingerprint


@torch.inference_mode()
def measure(case: Case) -> dict:
    """Time the pair; plain numbers, as a result file keeps them.

    ``efficiency`` is the median over the pairs of (static s / ours) / (static MACs / ours executed in that very batch).
    ``limit`` is the same for a time on the straight line between the network without its recursive blocks and
    with every loop of every image and no gate: what is left of the efficiency when leaving costs nothing. Where the
    first network is a static one, of torchvision, it is timed all the same, without ends and limit.
    ``peak_bytes``: see `drnn.bench.memory.peak_bytes`, of the first batch. ``weight_bytes``: after all rounds.

    Raises:
        ValueError: two networks that make no pair: see `drnn.bench.pairs` and `drnn.bench.trained`.
    """
    if is_run(case.first):
        with torch.inference_mode(False):
            pair = trained_pair(case)
        return {**measure_pair(case, pair), "weights_sha256": fingerprint(Path(case.first))}
    refuse_pair(case.first, case.second)
    if is_foreign(case.first):
        return measure_static(case)
    with torch.inference_mode(False):
        pair = scripted_pair(case)
    return measure_pair(case, pair)


def scripted_pair(case: Case) -> Pair:
    """Both networks by name, the gates of the first by a script that it is seen to follow."""
    first, second = (build(name, case.form, case.seed, case.device) for name in (case.first, case.second))
    costs, script = costs_of(case.first), script_for(case, first)
    scripted, x = Scripted(first, script, case.batch_size, case.device), images_for(case, first.input_size)
    scripted.check(x)
    return Pair(
        first=first,
        second=second,
        costs=costs,
        static_macs=max_macs_of(case.second),
        batches=(x,),
        run=lambda turn: run_script(scripted, x, turn, 0),
        records=scripted.records,
        gates="scripted",
    )


def measure_pair(case: Case, pair: Pair) -> dict:
    """A recursive network against a static one."""
    times, ends = time_rounds(pair, case.rounds, case.device)
    totals, spent, share = pair.executed.sum(1), pair.macs, pair.share
    mean, static = sum(spent) / len(totals), pair.static_macs
    efficiency = [
        (theirs / ours) / (static * case.batch_size / macs)
        for ours, theirs, macs in zip(times.first_s, times.second_s, spent, strict=True)
    ]
    limit = [
        theirs / (closed + share * (opened - closed)) / (static / mean)
        for theirs, closed, opened in zip(times.second_s, ends.first_s, ends.second_s, strict=True)
    ]
    sides = (partial(pair.run, 0), partial(pair.second, pair.batch(0)))
    return {
        **_common(case, times, len(totals)),
        "gates": pair.gates,
        "peak_bytes": [peak_bytes(work, case.device) for work in sides],
        "weight_bytes": [weight_bytes(model) for model in (pair.first, pair.second)],
        "mean_loops": float(totals.double().mean()),
        "std_loops": float(totals.double().std(correction=0)),
        "max_loops": sum(pair.costs.slots),
        "macs_mean": mean,
        "static_macs": static,
        "fixed_macs": pair.costs.fixed_macs,
        "efficiency": median(efficiency),
        "ends_s": list(ends.medians_s),
        "limit": median(limit),
    }


def measure_static(case: Case) -> dict:
    """A static network of torchvision against one of ours, plain against plain."""
    with torch.inference_mode(False):
        first, second = (build(name, case.form, case.seed, case.device) for name in (case.first, case.second))
        theirs, ours = max_macs_of(case.first), max_macs_of(case.second)
    x = images_for(case, input_size_of(case.second))
    times = time_pairs(partial(run_static, first, x), partial(run_static, second, x), case.rounds, device=case.device)
    pairs = zip(times.first_s, times.second_s, strict=True)
    return {
        **_common(case, times, case.batch_size * case.rounds),
        "gates": None,
        "peak_bytes": [peak_bytes(partial(run_static, model, x, 0), case.device) for model in (first, second)],
        "weight_bytes": [weight_bytes(model) for model in (first, second)],
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
    kept = {name: value for name, value in asdict(case).items() if name != "data_root"}
    return {
        **kept,
        "images": images,
        "latency_s": list(times.medians_s),
        "latency_p95_s": list(times.p95_s),
        "images_per_s": [case.batch_size / seconds for seconds in times.medians_s],
        "ratio": times.ratio,
    }


def time_rounds(pair: Pair, rounds: int, device: str) -> tuple[PairedTimes, PairedTimes]:
    """Ours against the static network, and the ends of our line, in turn: round i runs batch i.

    One round before them warms up. On a GPU all rounds do: its library looks for kernels at every size of batch that it
    has not met, and a network that skips meets many, but each only once.
    """
    pairs, ends, once = [], [], partial(time_pairs, rounds=1, warmup=0, device=device)
    warmup = 1 if torch.device(device).type == "cpu" else rounds
    for turn in range(-warmup, rounds):
        number = turn + warmup if turn < 0 else turn
        x = pair.batch(number)
        ours, theirs = (lambda _, number=number: pair.run(number)), partial(run_static, pair.second, x)
        pairs.append(once(ours, theirs) if turn % 2 else swapped(once(theirs, ours)))
        ends.append(time_ends(pair.first, x, device))
    return tuple(  # type: ignore[return-value]
        PairedTimes(sum((t.first_s for t in kept[warmup:]), ()), sum((t.second_s for t in kept[warmup:]), ()))
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


def time_ends(model: Classifier, x: Tensor, device: str) -> PairedTimes:
    """Seconds of ``model`` without its recursive blocks, and with every loop and no gate; one pair."""
    blocks = [block for block in model.modules() if isinstance(block, RecursiveBlock)]

    def closed(_: int) -> None:
        for block in blocks:
            block.forward = lambda x: x
        model(x)

    def opened(_: int) -> None:
        for block in blocks:
            block.forward = partial(run_all_loops, block)
        model(x)

    try:
        return time_pairs(closed, opened, 1, warmup=0, device=device)
    finally:
        for block in blocks:
            block.__dict__.pop("forward", None)


def run_all_loops(block: RecursiveBlock, x: Tensor) -> Tensor:
    """All loops of a block for all images, no gate asked."""
    for loop in range(block.num_loops):
        x = block.body(x, loop, None)
    return x
