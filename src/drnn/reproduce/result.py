"""Result files: a finished run as one, with what was asked for, where it ran, what came out; and a folder of them."""

import json
from dataclasses import asdict
from pathlib import Path

from drnn.costs import count_params
from drnn.provenance import environment
from drnn.reproduce.plan import CONTROLS, ROWS, VARIANTS, Job, stem
from drnn.training import evaluate_source
from drnn.training.checkpoint import load_run
from drnn.training.recipe_fields import recipe_from_dict
from drnn.training.run_folder import (
    AVERAGE,
    INITIAL,
    METRICS,
    MOVABLE,
    SUMMARY,
    read_metrics,
    run_environment,
    run_summary,
)
from drnn.weights.files import fingerprint

ANOTHER = "remove the file to have it made again, or choose another --results"
TIMES = "times.json"  # lies beside the results, see drnn.reproduce.times
ORDER = (*ROWS, *CONTROLS, *VARIANTS)
KINDS = {
    **dict.fromkeys(("row", "label", "model"), str),
    **dict.fromkeys(("seed", "params", "images", "max_loops", "max_macs"), int),
    **dict.fromkeys(("error", "mean_loops", "macs_mean", "macs_std", "train_s"), (int, float)),
    **dict.fromkeys(("recipe", "environment"), dict),
    **dict.fromkeys(("executed_rates", "trained_on", "epochs"), list),
    "average": (dict, type(None)),
}
OF_A_RUN = frozenset({"seed", *MOVABLE})  # what may differ between two runs of a row
OF_A_ROW = OF_A_RUN | {  # and between two rows
    *("name", "model", "gate", "norm", "gate_noise", "target_rate"),
    *("params", "max_macs", "max_loops"),
}


def result_of(job: Job, data_root: str | None = None) -> dict:
    """Evaluate a finished run's saved weights on its test images; plain numbers, as a result file keeps them.

    ``error`` is that of the last epoch, whatever the epochs before it had; ``average`` is the same for the moving
    average of the weights, None where the recipe keeps none. ``trained_on`` is every machine that worked on the run.

    Args:
        job: a finished one.
        data_root: where the data set is, if not where the run's recipe says.

    Raises:
        FileNotFoundError: the run is not finished, or the data set is not there.
        ValueError: other weights than those that the run ended with, or epochs missing in its metrics.
    """
    model, recipe, dataset = load_run(job.folder, data_root)
    epochs = read_metrics(job.folder)
    _require_every_epoch(job.folder / METRICS, epochs, recipe.epochs)
    summary, weights = run_summary(job.folder), fingerprint(job.folder)
    _require_own(job.folder, summary, "weights_sha256", weights)
    last = _numbers(evaluate_source(model, dataset))
    average = None
    if (job.folder / AVERAGE).is_file():
        _require_own(job.folder, summary, "average_sha256", fingerprint(job.folder, AVERAGE))
        average = _numbers(evaluate_source(load_run(job.folder, data_root, average=True).model, dataset))
    begun = run_environment(job.folder)
    machines = [begun, *begun.pop("resumed", [])]
    return {
        "row": job.row,
        "label": job.label,
        "model": model.name,
        "seed": recipe.seed,
        "recipe": {key: value for key, value in recipe.to_dict().items() if key not in MOVABLE},
        "weights_sha256": weights,
        "params": count_params(model),
        **last,
        "average": average,
        "train_s": summary["train_s"],
        "trained_on": [{key: value for key, value in machine.items() if key != "command"} for machine in machines],
        "environment": environment("cpu"),  # where it is evaluated, wherever it was trained
        "epochs": epochs,
    }


def read_results(folder: Path) -> list[dict]:
    """Every result file in a folder, by row and seed; what does not belong in one table is refused.

    Raises:
        ValueError: a damaged file; one whose place is not what its label, row and seed say, such as a copy; or results
            of different recipes.
    """
    files = [file for file in sorted(folder.glob("*.json")) if file.name != TIMES]
    results = [read_result(file) for file in files]
    for file, result in zip(files, results, strict=True):
        _require_in_place(file, result)
    results.sort(key=lambda result: (ORDER.index(result["row"]), result["seed"]))
    for result in results:
        twin = next(other for other in results if other["row"] == result["row"])
        _require_alike(folder, result, twin, OF_A_RUN)
        _require_alike(folder, result, results[0], OF_A_ROW)
    return results


def read_result(file: Path) -> dict:
    """One result file, wherever it lies.

    Raises:
        ValueError: a damaged file, or one of something else.
    """
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
        for key, kind in KINDS.items():
            if not isinstance(result[key], kind):
                raise TypeError(f"{key} is {result[key]!r}")
        ORDER.index(result["row"])
        recipe_from_dict(result["recipe"])
        begun_from(result)
        _numbers_of(result["epochs"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is no result of drnn reproduce ({error!r}); {ANOTHER}") from error
    return result


def _require_in_place(file: Path, result: dict) -> None:
    recipe = recipe_from_dict(result["recipe"])
    name, label = f"{stem(result['row'], result['seed'])}.json", file.parent.resolve().name
    for what, there, due in (
        ("name", file.name, name),
        ("label", result["label"], label),
        ("seed of the recipe", recipe.seed, result["seed"]),
        ("model of the recipe", recipe.model, result["model"]),
    ):
        if there != due:
            raise ValueError(
                f"{file}: its {what} is {there!r}, by its row, seed, model and folder it should be {due!r}; remove the "
                "file where it is a copy, or move it back to where drnn reproduce wrote it"
            )
    _require_every_epoch(file, result["epochs"], recipe.epochs)


def _require_alike(folder: Path, result: dict, other: dict, free: frozenset[str]) -> None:
    here, there = _conditions(result), _conditions(other)
    for field, value in here.items():
        if field not in free and value != there[field]:
            file, second = (folder / f"{stem(each['row'], each['seed'])}.json" for each in (result, other))
            raise ValueError(
                f"{file}: {field} is {value!r}, in {second} it is {there[field]!r}; a table holds results of one "
                "recipe: remove one of the two files and run it again"
            )


def _conditions(result: dict) -> dict:
    counted = {key: result[key] for key in ("images", "params", "max_macs", "max_loops")}
    recipe = asdict(recipe_from_dict(result["recipe"]))  # a field that is younger than the file: as it was
    return {**recipe, "initial_weights": begun_from(result) or recipe["initial_weights"], **counted}


def begun_from(result: dict) -> str | None:
    """SHA-256 of the weights that a run began with, wherever they lay; None where it began fresh."""
    return result["trained_on"][0].get(INITIAL) if result["trained_on"] else None


def _numbers(evaluation) -> dict:
    summary = evaluation.summary()
    return {"error": 1 - summary.pop("acc1"), **summary}


def _require_own(folder: Path, summary: dict, key: str, sha256: str) -> None:
    if key not in summary:
        raise ValueError(
            f"{folder / SUMMARY} has no {key}; remove it and run the command again, which makes it from the last "
            "checkpoint"
        )
    if summary[key] != sha256:
        raise ValueError(
            f"{folder} holds other weights than the run ended with, by the {key} in its summary; remove the folder and "
            "run it again"
        )


def _numbers_of(lines: list[dict]) -> list[int]:
    return [line["epoch"] for line in lines]


def _require_every_epoch(file: Path, lines: list[dict], epochs: int) -> None:
    there = _numbers_of(lines)
    if there != list(range(1, epochs + 1)):
        found = f"{len(there)} epochs, {there[0]} to {there[-1]}" if there else "no epochs"
        raise ValueError(
            f"{file} has {found}; its recipe has {epochs}, and each is to be there once: the metrics were lost or cut, "
            "so remove the run's folder and run it again"
        )
