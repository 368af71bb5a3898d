"""Two runs side by side on the same images, their time measured in pairs."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from drnn.costs import count_params
from drnn.data import AnyDataset, Normalize, Source
from drnn.models import Classifier
from drnn.provenance import environment
from drnn.timing import time_pairs
from drnn.training import Recipe, evaluate_source
from drnn.training.checkpoint import load_run

AT_ONCE = 64  # test images in a batch, where not all are wanted


@dataclass(frozen=True)
class _Side:
    model: Classifier
    recipe: Recipe
    dataset: AnyDataset


def compare_runs(
    first: Path, second: Path, batch_sizes: list[int], rounds: int = 60, data_root: str | None = None
) -> dict:
    """Evaluate and time two runs; plain numbers, as a result file keeps them.

    Args:
        first: a run folder.
        second: the run folder to compare with.
        batch_sizes: images at a time; each is timed.
        rounds: how many pairs of measurements a batch size.
        data_root: where the data set is, if not where the recipes say.

    Raises:
        ValueError: runs on different data sets, or nothing to measure.
        FileNotFoundError: no finished run in a folder.
    """
    if rounds < 1 or not batch_sizes or min(batch_sizes) < 1:
        raise ValueError(f"batch sizes {batch_sizes} and rounds {rounds} received; give 1 or more of each")
    sides = [_Side(*load_run(folder, data_root)) for folder in (first, second)]
    if not _same_test(*sides):
        names = ", ".join(sorted({side.recipe.dataset for side in sides}))
        raise ValueError(f"the runs are on different test images ({names}); compare like with like")
    dataset = sides[0].dataset
    images = Normalize(dataset.mean, dataset.std)(_first_test_images(dataset, rounds * max(batch_sizes)))
    times = {str(size): time_models(sides[0].model, sides[1].model, images, size, rounds) for size in batch_sizes}
    return {
        "environment": environment(),
        "dataset": dataset.name,
        "test_images": dataset.num_test,
        "runs": [_describe(side) for side in sides],
        "time": times,
    }


def _same_test(first: _Side, second: _Side) -> bool:
    """Whether the test images are the same: those of one data set, divided and cut alike, or equal one by one."""
    sources = [
        (side.recipe.dataset, side.recipe.data_root, side.recipe.held_out, side.dataset.image_size)
        for side in (first, second)
    ]
    if sources[0] == sources[1]:
        return True
    if (first.dataset.num_test, first.dataset.image_size) != (second.dataset.num_test, second.dataset.image_size):
        return False
    pairs = zip(first.dataset.test_batches(AT_ONCE), second.dataset.test_batches(AT_ONCE), strict=True)
    return all(torch.equal(ours, theirs) for (ours, _), (theirs, _) in pairs)


def _first_test_images(source: Source, count: int) -> Tensor:
    """The first ``count`` test images, uint8 ``(N, C, H, W)``, or all if there are fewer; a few more may be read."""
    batches = islice(source.test_batches(min(AT_ONCE, count)), -(-count // AT_ONCE))
    return torch.cat([images for images, _ in batches])[:count]


def _describe(side: _Side) -> dict:
    result, recipe = evaluate_source(side.model, side.dataset), side.recipe
    kept = {"name": recipe.name, "model": recipe.model, "seed": recipe.seed, "epochs": recipe.epochs}
    return {**kept, "params": count_params(side.model), **result.summary()}


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
    rows = [
        ("model", first["model"], second["model"], ""),
        ("test accuracy", *(f"{run['acc1']:.2%}" for run in (first, second)), ""),
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
    header = ("", first["name"], second["name"], "ratio")
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(4)]
    lines = [_line(header, widths), _line(["-" * width for width in widths], widths)]
    return "\n".join([*lines, *(_line(row, widths) for row in rows)]) + "\n"


def _row(title: str, first: float, second: float, form: str) -> tuple[str, str, str, str]:
    return title, form.format(first), form.format(second), f"{first / second:.2f}"


def _line(cells, widths: list[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"
