"""Accuracy against multiply-adds and against measured time, from all gates closed to all open."""

import csv
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from drnn.costs import count_costs
from drnn.data import AnyDataset, Normalize, hold_out
from drnn.inference.budget import apply_budget, gates_of, refuse_static
from drnn.inference.dial import Dial, Scope
from drnn.inference.optimize import optimize
from drnn.models import Classifier
from drnn.provenance import environment
from drnn.timing import p95, time_in_turns
from drnn.training import evaluate
from drnn.training.checkpoint import load_run

COLUMNS = ("run", "model", "position", "acc1", "macs_mean", "mean_loops", "latency_ms", "p95_ms")
BATCHES = 60  # timed, at most


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
    images, accuracy and costs from the test images, time from the optimised network on test images.

    Args:
        folder: the recursive run.
        statics: runs to compare with.
        points: positions of the dial, both ends included.
        scope: one threshold for all gates, or one each.
        batch_size: images at a time, for the time.
        data_root: where the data set is, if not where the recipes say.
        device: where all is run and timed: "cpu", "cuda", "auto", ...

    Raises:
        ValueError: fewer than two points, runs on other test images, a network without gates, or a device that is not
            here.
        FileNotFoundError: no finished run in a folder.
    """
    if points < 2 or batch_size < 1:
        raise ValueError(f"{points} points at batch size {batch_size} received; give 2 or more, and 1 or more")
    model, _, found = load_run(folder, data_root, device=device)
    data = found.to(next(model.parameters()).device)
    refuse_static(model)
    dial = Dial(model, hold_out(data, min(1000, data.num_train - 1)).test_images, _prepare(data), scope)
    deployed = optimize(model)
    rows, works = [], []
    for position in (None, *(step / (points - 1) for step in range(points))):
        turned = dict.fromkeys(gates_of(model), 0.0) if position is None else dial.thresholds(position)
        apply_budget(model, turned)
        rows.append(_row(folder, model, data, position))
        works.append(partial(_run_turned, deployed, turned))
    for static in statics:
        other, _, others = load_run(static, data_root, device=device)
        others = others.to(data.test_images.device)
        if not torch.equal(others.test_images, data.test_images):
            raise ValueError(f"{static} is on other test images than {folder}; compare like with like")
        rows.append(_row(static, other, others, None))
        works.append(optimize(other))
    _time(rows, works, _prepare(data)(data.test_images), batch_size)
    return {
        "environment": environment(),
        "dataset": data.name,
        "scope": scope,
        "device": device,
        "batch_size": batch_size,
        "rows": rows,
    }


def _prepare(data: AnyDataset) -> Normalize:
    return Normalize(data.mean, data.std)


def _row(folder: Path, model: Classifier, data: AnyDataset, position: float | None) -> dict:
    costs = count_costs(model, data.image_size)
    result = evaluate(model, data.test_images, data.test_labels, _prepare(data), costs=costs).summary()
    kept = {name: result[name] for name in ("acc1", "macs_mean", "mean_loops")}
    return {"run": folder.name, "model": model.name, "position": position, **kept}


def _run_turned(model: Classifier, thresholds: dict[str, float], images: Tensor) -> None:
    apply_budget(model, thresholds)
    model(images)


@torch.inference_mode()
def _time(rows: list[dict], works: list[Callable[[Tensor], object]], images: Tensor, batch_size: int) -> None:
    """Add to each row its milliseconds an image of ``images (N, C, H, W)``: median over batches, 95th percentile.

    All are timed in turn on one batch after the other, so that they share what the machine does meanwhile.
    """
    parts = images.split(batch_size)[: max(1, min(BATCHES, len(images) // batch_size))]
    turns = [lambda turn, work=work: work(parts[turn % len(parts)]) for work in works]
    warmup = 3 if images.device.type == "cpu" else len(parts)  # a GPU's library looks for kernels at each new size
    for row, times in zip(rows, time_in_turns(turns, len(parts), warmup), strict=True):
        each = tuple(1e3 * spent / len(part) for spent, part in zip(times, parts, strict=True))
        row |= {"latency_ms": median(each), "p95_ms": p95(each)}


def as_csv(result: dict) -> str:
    """The rows as CSV."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(result["rows"])
    return out.getvalue()
