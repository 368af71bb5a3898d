"""A run on disk: its recipe, surroundings, metrics, weights and summary."""

import json
import os
from contextlib import ExitStack
from pathlib import Path

import torch

from drnn.data import Source
from drnn.provenance import environment
from drnn.storage import read_json, write_json, write_text
from drnn.training.lock import alone_in
from drnn.training.recipe import Recipe
from drnn.training.recipe_fields import read_fields, recipe_from_dict, recipe_text
from drnn.training.run_data import DATA, data_fields, require_classes, require_order
from drnn.training.state import checkpoints, load_state
from drnn.weights.files import WEIGHTS
from drnn.weights.folder import CONFIG

RECIPE, ENVIRONMENT, METRICS = "recipe.yaml", "environment.json", "metrics.jsonl"
AVERAGE, SUMMARY = "model-ema.safetensors", "summary.json"
FILES = (RECIPE, ENVIRONMENT, DATA, METRICS, WEIGHTS, AVERAGE, SUMMARY)
INITIAL = "initial_weights_sha256"  # in the environment of a run that began from weights
MOVABLE = ("data_root", "download", "threads", "workers", "device")  # fields that may change when a run goes on


def open_run(
    folder: Path,
    recipe: Recipe,
    held: ExitStack,
    overwrite: bool = False,
    resume: bool = False,
    source: Source | None = None,
    device: torch.device | str = "cpu",
    begun_from: str | None = None,
) -> tuple[str, dict | None]:
    """Make the folder ready, and tell what to do in it.

    Args:
        folder: the run's.
        recipe: what is to be run.
        held: keeps other processes from training in the folder until it is closed.
        overwrite: remove a run that is there.
        resume: a run has to be there.
        source: its data, which are remembered, and compared where a run is there; None for neither.
        device: where the work is done, which is remembered, too.
        begun_from: fingerprint of the weights that it begins from, if any, to remember.

    Returns:
        ``("start", None)``; ``("continue", state)`` with a checkpoint's state, None where it had not come to one; or
        ``("finished", summary)``.

    Raises:
        BlockingIOError: another process is training in the folder.
        FileExistsError: a run of another recipe is there, or a network that was saved or released.
        FileNotFoundError: no run is there to resume.
        OSError: the folder cannot be written.
        ValueError: a damaged recipe or summary, checkpoints of which none can be gone on from, or data of other
            classes or another number of training images.
    """
    if (folder / CONFIG).is_file():
        raise FileExistsError(
            f"{folder} holds a network of drnn release or save_pretrained ({CONFIG} is there), which training would "
            "replace; choose another --out"
        )
    if resume and (overwrite or not (folder / RECIPE).is_file()):
        raise FileNotFoundError(f"{folder} holds no run to resume; leave --resume out to start one")
    if not overwrite and (folder / RECIPE).is_file() and (folder / SUMMARY).is_file():
        _require_same(folder, recipe)
        if source is not None:
            require_classes(folder, source)
        return "finished", run_summary(folder)
    held.enter_context(alone_in(folder))
    if overwrite or not (folder / RECIPE).is_file():
        _start(folder, recipe, source, device, begun_from)
        return "start", None
    _require_same(folder, recipe)
    if source is not None:
        require_order(folder, source)
    state = load_state(folder, (folder / METRICS).stat().st_size if (folder / METRICS).is_file() else 0)
    _cut_metrics(folder, 0 if state is None else state["metrics_bytes"])
    try:
        begun = run_environment(folder)
    except (FileNotFoundError, ValueError):
        begun = environment(device)
    if state is None:  # it begins once more
        begun |= _beginning(begun_from)
    write_json(folder / ENVIRONMENT, {**begun, "resumed": [*begun.get("resumed", []), environment(device)]})
    return "continue", state


def goes_on(folder: Path) -> bool:
    """Whether a run is there that is finished, or came to a checkpoint."""
    return (folder / RECIPE).is_file() and ((folder / SUMMARY).is_file() or bool(checkpoints(folder)))


def _start(
    folder: Path, recipe: Recipe, source: Source | None, device: torch.device | str, begun_from: str | None
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in [*(folder / name for name in FILES), *checkpoints(folder)]:
        path.unlink(missing_ok=True)
    write_json(folder / ENVIRONMENT, {**environment(device), **_beginning(begun_from)})
    if source is not None:
        write_json(folder / DATA, data_fields(source))
    write_text(folder / RECIPE, recipe_text(recipe.to_dict()))


def _beginning(sha256: str | None) -> dict:
    return {} if sha256 is None else {INITIAL: sha256}


def run_environment(folder: Path) -> dict:
    """Where a run began; under "resumed", where it went on.

    Raises:
        FileNotFoundError: no such file in the folder.
        ValueError: a damaged one.
    """
    return read_json(folder / ENVIRONMENT)


def run_summary(folder: Path) -> dict:
    """What a finished run came to.

    Raises:
        FileNotFoundError: no such file in the folder.
        ValueError: a damaged one.
    """
    try:
        return read_json(folder / SUMMARY)
    except ValueError as error:
        raise ValueError(f"{error}; remove it and train again, which goes on from the last checkpoint") from error


def _require_same(folder: Path, recipe: Recipe) -> None:
    if other := differences(read_recipe(folder), recipe):
        raise FileExistsError(
            f"{folder} already holds a run of another recipe ({'; '.join(other)}); "
            "add --overwrite to replace it, or choose another --out"
        )


def differences(there: Recipe, asked: Recipe) -> list[str]:
    """The fields that two recipes do not have in common, each with both values; those of `MOVABLE` do not count."""
    old, new = there.to_dict(), asked.to_dict()
    places = [Path(recipe.initial_weights or "").resolve() for recipe in (there, asked)]
    if there.initial_weights and asked.initial_weights and places[0] == places[1]:
        new["initial_weights"] = old["initial_weights"]  # spelt otherwise
    return [
        f"{key} {old[key]!r} there, {new[key]!r} asked" for key in new if key not in MOVABLE and old[key] != new[key]
    ]


def _cut_metrics(folder: Path, length: int) -> None:
    """Forget what was logged after the checkpoint: it is about to happen again."""
    path = folder / METRICS
    if path.is_file() and path.stat().st_size > length:
        with open(path, "rb+") as file:
            file.truncate(length)


def log_metrics(folder: Path, values: dict) -> int:
    """Add one line to the metrics, on the disk when this returns; returns the file's length in bytes."""
    with open(folder / METRICS, "a", encoding="utf-8") as file:
        file.write(json.dumps(values, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def read_metrics(folder: Path) -> list[dict]:
    """The metrics of a run, a dict an epoch, none where it logged nothing; a last line that a kill cut off is left out.

    Raises:
        ValueError: a damaged line before the last.
    """
    path, rows = folder / METRICS, []
    lines = path.read_bytes().splitlines() if path.is_file() else []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("it holds no fields")
        except (ValueError, RecursionError) as error:
            if number < len(lines):
                raise ValueError(
                    f"{path}, line {number} is damaged: {error}; remove the line to do without that epoch, or the "
                    "folder to train again"
                ) from error
        else:
            rows.append(row)
    return rows


def read_recipe(folder: Path) -> Recipe:
    """The recipe of a run.

    Raises:
        FileNotFoundError: ``folder`` is not a run folder.
        ValueError: a recipe file that cannot be read, or holds other fields or values than a recipe's.
    """
    if not (folder / RECIPE).is_file():
        raise FileNotFoundError(f"{folder} has no {RECIPE}; give the folder of a run, as drnn train writes it")
    values = read_fields(folder / RECIPE)
    try:
        return recipe_from_dict(values)
    except ValueError as error:
        raise ValueError(f"{folder / RECIPE} is no recipe: {error}") from error
