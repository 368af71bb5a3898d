"""Milliseconds of finished runs, each in pairs with its static counterpart, when nothing else runs."""

from pathlib import Path

from drnn.compare import time_models
from drnn.data import Normalize
from drnn.inference.counterparts import COUNTERPARTS
from drnn.provenance import environment
from drnn.reproduce.plan import Job
from drnn.reproduce.report import TIMES
from drnn.storage import write_json
from drnn.training.checkpoint import load_run


def time_rows(jobs: list[Job], batch_size: int, rounds: int, data_root: str | None = None) -> dict[Path, dict]:
    """Time every job that has a result, on test images, and write ``times.json`` beside the results.

    A recursive network is timed against the trained static network of its row; a static one against itself, which
    shows the noise of the measurement.

    Args:
        jobs: of `drnn.reproduce.table1`; the first seed of a row counts.
        batch_size: images at a time.
        rounds: pairs.
        data_root: where the data set is, if not where the runs' recipes say.

    Returns:
        What was written, by file.
    """
    written = {}
    for folder in dict.fromkeys(job.file.parent for job in jobs):
        done = {job.row: job for job in reversed(jobs) if job.file.parent == folder and job.file.is_file()}
        rows = {row: _time(job, done, batch_size, rounds, data_root) for row, job in done.items()}
        if rows:
            written[folder / TIMES] = {"environment": environment(), "batch_size": batch_size, "rows": rows}
            write_json(folder / TIMES, written[folder / TIMES])
    return written


def _time(job: Job, done: dict[str, Job], batch_size: int, rounds: int, data_root: str | None) -> dict:
    static = COUNTERPARTS.get(job.recipe.model, job.recipe.model).removesuffix("_cifar")
    against = static if static in done else job.row
    model, _, dataset = load_run(job.folder, data_root)
    second = load_run(done[against].folder, data_root)[0]
    images = Normalize(dataset.mean, dataset.std)(dataset.test_images)
    timed = time_models(model, second, images, batch_size, rounds)
    return {"against": against, "ms": timed["latency_ms"][0], "against_ms": timed["latency_ms"][1],
            "ratio": timed["ratio"], "rounds": rounds}  # fmt: skip
