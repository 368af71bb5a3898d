"""Milliseconds of finished runs, each in pairs with its static counterpart, when nothing else runs."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from drnn.compare import time_models
from drnn.models.counterparts import COUNTERPARTS
from drnn.provenance import environment
from drnn.reproduce.plan import ROWS, Job, row_of, stem
from drnn.reproduce.result import TIMES, read_results
from drnn.storage import write_json
from drnn.training.checkpoint import load_run
from drnn.training.run_folder import ENVIRONMENT, run_environment
from drnn.training.tested import first_test_images
from drnn.weights.files import WEIGHTS, fingerprint

log = logging.getLogger("drnn.reproduce")
STATIC = {  # row -> the static row that it is timed against
    **{row_of(model): row_of(other) for model, other in COUNTERPARTS.items() if row_of(model) in ROWS},
    **dict.fromkeys(("aig_resnet110", "sd_resnet110", "preresnet110", "rcnn160"), "resnet110"),
}
STATIC |= {row: row for row in STATIC.values()}  # against itself: what ratio the noise alone makes
MEASURED = {"against", "ms", "against_ms", "ratio", "rounds", "batch_size", "environment"}


@dataclass(frozen=True)
class _Run:
    """A run that is here, and is the one its result was written of."""

    row: str
    seed: int
    folder: Path
    weights_sha256: str


def time_rows(
    jobs: list[Job],
    batch_size: int,
    rounds: int,
    data_root: str | None = None,
    report: Callable[[str], None] = log.info,
) -> dict[Path, dict]:
    """Time every row that has a result and a run, on test images, on the CPU; ``times.json`` beside the results has it.

    A network is timed against the trained static network of its row, with the same seed where that is here, be it among
    ``jobs`` or not; a static one against itself, which shows the noise of the measurement. A row without a static
    network here is timed alone. Rows of the file that are not timed now stay.

    Args:
        jobs: of `drnn.reproduce.table1`; the first seed of a row counts whose run is here.
        batch_size: images at a time.
        rounds: pairs.
        data_root: where the data set is, if not where the runs' recipes say.
        report: gets a line for a row that is not timed, or timed alone.

    Returns:
        What was timed now, by row, for each file that was written.

    Raises:
        ValueError: result files that do not belong together.
    """
    written: dict[Path, dict] = {}
    for folder in dict.fromkeys(job.file.parent for job in jobs):
        here = [job for job in jobs if job.file.parent == folder and job.file.is_file()]
        results = read_results(folder)
        for row in dict.fromkeys(job.row for job in here):
            seeds = [job.recipe.seed for job in here if job.row == row]
            runs = next(job.folder.parent for job in here if job.row == row)
            ours = _first_here(results, row, seeds, runs, report)
            if ours is None:
                report(f"{row}: not timed")
                continue
            against = _counterpart(results, ours, report)
            timed = _time(ours, against, batch_size, rounds, data_root)
            write_json(folder / TIMES, {"rows": {**read_times(folder), row: timed}})
            written.setdefault(folder / TIMES, {})[row] = timed
    return written


def read_times(folder: Path) -> dict[str, dict]:
    """What was timed, by row; what an older file says once, above its rows, holds for each of them.

    Raises:
        ValueError: a damaged file.
    """
    file = folder / TIMES
    if not file.is_file():
        return {}
    try:
        once = json.loads(file.read_text(encoding="utf-8"))
        rows = {row: {**once, **timed} for row, timed in once.pop("rows").items()}
        if missing := sorted({key for timed in rows.values() for key in MEASURED - timed.keys()}):
            raise KeyError(*missing)
        return rows
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} holds no times of drnn reproduce ({error!r}); remove it and time again") from error


def times_of(folder: Path, results: list[dict]) -> dict[str, dict]:
    """The times of the networks whose results these are; times of older weights are left out."""
    return {row: timed for row, timed in read_times(folder).items() if _belongs(row, timed, results)}


def _belongs(row: str, timed: dict, results: list[dict]) -> bool:
    sides = [(row, timed.get("seed"), timed.get("weights_sha256"))]
    if timed["against"] is not None:
        sides.append((timed["against"], timed.get("against_seed"), timed.get("against_weights_sha256")))
    return all(
        any(
            (result["row"], result["seed"]) == (name, result["seed"] if seed is None else seed)
            and _same_weights(weights, timed["environment"]["date"], result)
            for result in results
        )
        for name, seed, weights in sides
    )


def _same_weights(weights: str | None, date: str, result: dict) -> bool:
    """By the fingerprint where both have one; otherwise what was timed before the result was written is older."""
    known = result.get("weights_sha256")
    return weights == known if weights and known else result["environment"]["date"] <= date


def _first_here(
    results: list[dict], row: str, seeds: list[int], runs: Path, report: Callable[[str], None]
) -> _Run | None:
    """The run of the first seed that is here and is that of its result."""
    by_seed = {result["seed"]: result for result in results if result["row"] == row}
    for seed in seeds:
        folder = runs / stem(row, seed)
        if not (folder / WEIGHTS).is_file():
            report(f"{row}: no run of seed {seed} in {folder}")
        elif not _is_of(by_seed[seed], folder):
            report(f"{row}: {folder} holds another run than the one its result is of; run it again to time it")
        else:
            return _Run(row, seed, folder, fingerprint(folder))
    return None


def _is_of(result: dict, folder: Path) -> bool:
    if "weights_sha256" in result:
        return result["weights_sha256"] == fingerprint(folder)
    return (folder / ENVIRONMENT).is_file() and run_environment(folder)["date"] == result["trained_on"][0]["date"]


def _counterpart(results: list[dict], ours: _Run, report: Callable[[str], None]) -> _Run | None:
    static = STATIC.get(ours.row)
    if static == ours.row:
        return ours
    seeds = sorted(
        (result["seed"] for result in results if result["row"] == static), key=lambda seed: (seed != ours.seed, seed)
    )
    found = None if static is None else _first_here(results, static, seeds, ours.folder.parent, report)
    if found is None:
        report(
            f"{ours.row}: timed alone; {f'no run of {static} is here' if static else 'it has no static counterpart'}"
        )
    return found


def _time(ours: _Run, against: _Run | None, batch_size: int, rounds: int, data_root: str | None) -> dict:
    run = load_run(ours.folder, data_root)
    batch_size = min(batch_size, run.dataset.num_test)
    second = run.model if against is None else load_run(against.folder, data_root).model
    images = run.normalize(first_test_images(run.dataset, rounds * batch_size))
    timed = time_models(run.model, second, images, batch_size, rounds)
    return {
        "seed": ours.seed,
        "weights_sha256": ours.weights_sha256,
        "against": against and against.row,
        "against_seed": against and against.seed,
        "against_weights_sha256": against and against.weights_sha256,
        "ms": timed["latency_ms"][0],
        "against_ms": timed["latency_ms"][1] if against else None,
        "ratio": timed["ratio"] if against else None,
        "rounds": rounds,
        "batch_size": batch_size,
        "device": "cpu",
        "environment": environment("cpu"),
    }
