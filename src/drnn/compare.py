"""Two runs side by side on the same images, their time measured in pairs."""

from pathlib import Path

import torch
from torch import Tensor

from drnn.costs import count_params
from drnn.intervals import mean_interval
from drnn.models import Classifier
from drnn.provenance import environment
from drnn.timing import time_pairs
from drnn.training import Evaluation, evaluate_source
from drnn.training.checkpoint import LoadedRun, load_run
from drnn.training.recipe import tested_images
from drnn.training.tested import first_test_images, same_test_images


def compare_runs(
    first: Path, second: Path, batch_sizes: list[int] | None = None, rounds: int = 60, data_root: str | None = None
) -> dict:
    """Evaluate and time two runs; plain numbers, as a result file keeps them.

    Args:
        first: a run folder.
        second: the run folder to compare with.
        batch_sizes: images at a time; each is timed. 1 and 64 by default, or all where there are fewer.
        rounds: how many pairs of measurements a batch size.
        data_root: where the data set is, if not where the recipes say.

    Raises:
        ValueError: runs on different data sets, nothing to measure, or batches of more than all test images.
        FileNotFoundError: no finished run in a folder.
    """
    if rounds < 1 or (batch_sizes is not None and min(batch_sizes, default=0) < 1):
        raise ValueError(f"batch sizes {batch_sizes} and rounds {rounds} received; give 1 or more of each")
    folders = first, second
    runs = ours, theirs = [load_run(folder, data_root) for folder in folders]
    if not same_test_images(ours, theirs):
        names = ", ".join(sorted({ours.recipe.dataset, theirs.recipe.dataset}))
        raise ValueError(f"the runs are on different test images ({names}); compare like with like")
    batch_sizes = batch_sizes or sorted({1, min(64, ours.dataset.num_test)})
    if max(batch_sizes) > ours.dataset.num_test:
        raise ValueError(f"batch size {max(batch_sizes)} received; there are {ours.dataset.num_test} test images")
    images = ours.normalize(first_test_images(ours.dataset, rounds * max(batch_sizes)))
    results = [evaluate_source(run.model, run.dataset) for run in runs]
    times = {str(size): time_models(ours.model, theirs.model, images, size, rounds) for size in batch_sizes}
    return {
        "environment": environment("cpu"),
        "dataset": ours.dataset.name,
        "test_images": ours.dataset.num_test,
        "tested_on": tested_images(ours.recipe.held_out),
        "runs": [_describe(folder, run, result) for folder, run, result in zip(folders, runs, results, strict=True)],
        "accuracy_difference": _difference(*results),
        "time": times,
    }


def _describe(folder: Path, run: LoadedRun, result: Evaluation) -> dict:
    recipe = run.recipe
    kept = {"name": recipe.name, "model": recipe.model, "seed": recipe.seed, "epochs": recipe.epochs}
    return {"folder": str(folder), **kept, "params": count_params(run.model), **result.summary()}


def _difference(first: Evaluation, second: Evaluation) -> dict:
    """Accuracy of the first less that of the second, and its interval, image by image."""
    right = [(side.logits.argmax(1) == side.labels).double().numpy() for side in (first, second)]
    mean, low, high = mean_interval(right[0] - right[1])
    return {"mean": mean, "low": low, "high": high}


@torch.inference_mode()
def time_models(first: Classifier, second: Classifier, images: Tensor, batch_size: int, rounds: int) -> dict:
    """Time both networks on the same batch, one right after the other, ``rounds`` times, going through the images.

    Returns:
        Median milliseconds per image of each, and the median of the pairs' ratio first / second.
    """
    batches = images.split(batch_size)[: max(1, len(images) // batch_size)]
    times = time_pairs(
        lambda turn: first(batches[turn % len(batches)]), lambda turn: second(batches[turn % len(batches)]), rounds,
        device=images.device,
    )  # fmt: skip
    per_image = 1e3 / len(batches[0])
    return {"rounds": rounds, "latency_ms": [s * per_image for s in times.medians_s], "ratio": times.ratio}


def markdown(result: dict) -> str:
    """The comparison as one Markdown table."""
    first, second = result["runs"]
    held_out = result.get("tested_on", "test images") != "test images"
    rows = [
        ("model", first["model"], second["model"], ""),
        ("accuracy" if held_out else "test accuracy", *(f"{run['acc1']:.2%}" for run in (first, second)), ""),
        _row("parameters", first["params"], second["params"], "{:,}"),
        _row("M multiply-adds per image, mean", first["macs_mean"] / 1e6, second["macs_mean"] / 1e6, "{:.2f}"),
        _row("... least", first["macs_min"] / 1e6, second["macs_min"] / 1e6, "{:.2f}"),
        _row("... most", first["macs_max"] / 1e6, second["macs_max"] / 1e6, "{:.2f}"),
    ]
    for size, time in result["time"].items():
        cells = (f"{latency:.3f}" for latency in time["latency_ms"])
        rows.append((f"ms per image, batch {size} (paired)", *cells, f"{time['ratio']:.2f}"))
    loops = (f"{run['mean_loops']:.2f} of {run['max_loops']}" for run in (first, second))
    rows.append(("loops per image, mean", *loops, ""))
    names = [run["folder" if first["name"] == second["name"] else "name"] for run in (first, second)]
    header = ("", *names, "ratio")
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(4)]
    lines = [_line(header, widths), _line(["-" * width for width in widths], widths)]
    table = "\n".join([*lines, *(_line(row, widths) for row in rows)]) + "\n"
    return table + (_difference_said(result) if "accuracy_difference" in result else "")


def _difference_said(result: dict) -> str:
    mean, low, high = (100 * result["accuracy_difference"][key] for key in ("mean", "low", "high"))
    return (
        f"\nAccuracy of the first less that of the second, over the same {result['test_images']:,} "
        f"{result['tested_on']}: {mean:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f}.\n"
    )


def _row(title: str, first: float, second: float, form: str) -> tuple[str, str, str, str]:
    return title, form.format(first), form.format(second), f"{first / second:.2f}"


def _line(cells, widths: list[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"
