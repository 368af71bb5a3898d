"""Accuracy against multiply-adds and against measured time, from all gates closed to all open."""

import csv
import io
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from drnn.budgets.budget import refuse_static
from drnn.budgets.dial import Dial, Prepare, Scope
from drnn.core import gates_of, set_thresholds
from drnn.data import held_images
from drnn.data.transfer import to_device
from drnn.inference import optimize
from drnn.models import Classifier
from drnn.provenance import environment
from drnn.timing import p95, time_in_turns, wait
from drnn.training import evaluate_source
from drnn.training.checkpoint import LoadedRun, load_run
from drnn.training.distributed import choose_device
from drnn.training.tested import first_test_images, same_test_images

COLUMNS = ("run", "model", "position", "acc1", "macs_mean", "mean_loops", "latency_ms", "p95_ms")
BATCHES = 60  # timed, at most


class Point(NamedTuple):
    """A row of the curve, and what is timed for it: a network, its gates turned first where thresholds are given."""

    row: dict
    network: Classifier
    thresholds: dict[str, float] | None = None


def curve(
    folder: Path,
    statics: list[Path],
    points: int = 11,
    scope: Scope = "global",
    batch_size: int = 1,
    data_root: str | None = None,
    device: str = "cpu",
) -> dict:
    """Turn a run's gates from closed to open and measure at every step; static runs are one point each.

    ``position`` is the dial's, None for the thresholds as trained and for static runs. Thresholds come from training
    images, accuracy and costs from the test images, time from the optimised network on the first of them. Images are
    read, and come to the device, batch by batch.

    Args:
        folder: the recursive run.
        statics: runs to compare with.
        points: positions of the dial, both ends included.
        scope: one threshold for all gates, or one each.
        batch_size: images at a time, for the time.
        data_root: where the data set is, if not where the recipes say.
        device: where all is run and timed: "cpu", "cuda", "auto", ...

    Raises:
        ValueError: fewer than two points, batches of more than all test images, runs on other test images, a network
            without gates, or a device that is not here or cannot be waited for; nothing was measured.
        FileNotFoundError: no finished run in a folder; nothing was measured.
    """
    if points < 2 or batch_size < 1:
        raise ValueError(f"{points} points at batch size {batch_size} received; give 2 or more, and 1 or more")
    place = choose_device(device)
    wait(place)  # what cannot be waited for is refused here
    run = load_run(folder, data_root, device=str(place))
    refuse_static(run.model)
    if batch_size > run.dataset.num_test:
        raise ValueError(f"batch_size {batch_size} received; there are {run.dataset.num_test} test images")
    others = [load_run(static, data_root, device=str(place)) for static in statics]
    for static, other in zip(statics, others, strict=True):
        if not same_test_images(run, other):
            raise ValueError(f"{static} is on other test images than {folder}; compare like with like")

    def prepare(images: Tensor) -> Tensor:
        return run.normalize(to_device(images, place))

    dial, deployed = Dial(run.model, held_images(run.dataset), prepare, scope), optimize(run.model)
    kept: list[Point] = []
    for position in (None, *(step / (points - 1) for step in range(points))):
        turned = dict.fromkeys(gates_of(run.model), 0.0) if position is None else dial.thresholds(position)
        set_thresholds(run.model, turned)
        kept.append(Point(_row(folder, run, position), deployed, turned))
    for static, other in zip(statics, others, strict=True):
        kept.append(Point(_row(static, other, None), optimize(other.model)))
    images = first_test_images(run.dataset, BATCHES * batch_size)
    _time(kept, images, prepare, batch_size, place)
    return {
        "environment": environment(place),
        "dataset": run.dataset.name,
        "scope": scope,
        "device": str(place),
        "batch_size": batch_size,
        "rows": [point.row for point in kept],
    }


def _row(folder: Path, run: LoadedRun, position: float | None) -> dict:
    result = evaluate_source(run.model, run.dataset).summary()
    kept = {name: result[name] for name in ("acc1", "macs_mean", "mean_loops")}
    return {"run": folder.resolve().name, "model": run.model.name, "position": position, **kept}


@torch.inference_mode()
def _time(points: list[Point], images: Tensor, prepare: Prepare, batch_size: int, place: torch.device) -> None:
    """Add to each point's row the milliseconds of one of ``images (N, C, H, W)``: median over batches, 95th percentile.

    All are timed in turn on one batch after the other, so that they share what the machine does meanwhile.
    """
    count = min(BATCHES, len(images) // batch_size)
    parts = [prepare(part) for part in images[: count * batch_size].split(batch_size)]
    works = [lambda turn, network=point.network: network(parts[turn % len(parts)]) for point in points]

    def turn_gates(side: int) -> None:
        _, network, thresholds = points[side]
        if thresholds is not None:
            set_thresholds(network, thresholds)

    warmup = 3 if place.type == "cpu" else count  # a GPU's library looks for kernels at each new size
    spent = time_in_turns(works, count, warmup, device=place, before=turn_gates)
    for point, times in zip(points, spent, strict=True):
        each = tuple(1e3 * seconds / len(part) for seconds, part in zip(times, parts, strict=True))
        point.row.update({"latency_ms": median(each), "p95_ms": p95(each)})


def as_csv(result: dict) -> str:
    """The rows as CSV."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(result["rows"])
    return out.getvalue()
