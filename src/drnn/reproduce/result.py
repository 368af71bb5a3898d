"""A finished run as a result file: what was asked for, where it ran, what came out."""

import json
from pathlib import Path

from drnn.costs import count_params
from drnn.provenance import environment
from drnn.reproduce.plan import Job
from drnn.training import evaluate_source
from drnn.training.checkpoint import load_run
from drnn.training.listing import read_metrics
from drnn.training.run_folder import AVERAGE, MOVABLE, SUMMARY, run_environment


def result_of(job: Job, data_root: str | None = None) -> dict:
    """Evaluate a finished run's saved weights on its test images; plain numbers, as a result file keeps them.

    ``error`` is that of the last epoch, whatever the epochs before it had; ``average`` is the same for the moving
    average of the weights, None where the recipe keeps none. ``trained_on`` is every machine that worked on the run.

    Args:
        job: a finished one.
        data_root: where the data set is, if not where the run's recipe says.

    Raises:
        FileNotFoundError: the run is not finished, or the data set is not there.
        ValueError: saved weights that do not repeat what the run reported at its end.
    """
    model, recipe, dataset = load_run(job.folder, data_root)
    summary = json.loads((job.folder / SUMMARY).read_text(encoding="utf-8"))
    last = _numbers(evaluate_source(model, dataset))
    _require_repeated(job.folder, last["error"], 1 - summary["acc1"], last["images"])
    average = None
    if (job.folder / AVERAGE).is_file():
        average = _numbers(evaluate_source(load_run(job.folder, data_root, average=True)[0], dataset))
    begun = run_environment(job.folder)
    machines = [begun, *begun.pop("resumed", [])]
    return {
        "row": job.row,
        "label": job.label,
        "model": model.name,
        "seed": recipe.seed,
        "recipe": {key: value for key, value in recipe.to_dict().items() if key not in MOVABLE},
        "params": count_params(model),
        **last,
        "average": average,
        "train_s": summary["train_s"],
        "trained_on": [{key: value for key, value in machine.items() if key != "command"} for machine in machines],
        "environment": environment(),
        "epochs": read_metrics(job.folder),
    }


def _numbers(evaluation) -> dict:
    summary = evaluation.summary()
    return {"error": 1 - summary.pop("acc1"), **summary}


def _require_repeated(folder: Path, now: float, then: float, images: int) -> None:
    """Another machine may round a few borderline images differently, no more."""
    if abs(now - then) * images > max(5, 0.001 * images):
        raise ValueError(
            f"the weights in {folder} make {now:.2%} errors, their run reported {then:.2%}; the files do not belong "
            "together: remove the folder and run it again"
        )
