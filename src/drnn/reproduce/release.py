"""A finished run as a folder to give away: weights, card, and what every verb needs, without its checkpoints."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from drnn.budgets.budget import BUDGET, Budget, budget_fields, read_budget
from drnn.storage import Write, json_text, refuse_place, text_writer, write_together
from drnn.training import evaluate_source
from drnn.training.checkpoint import load_run
from drnn.training.recipe import Recipe, tested_images
from drnn.training.recipes import changed_fields
from drnn.training.run_data import DATA
from drnn.training.run_folder import (
    AVERAGE,
    ENVIRONMENT,
    INITIAL,
    METRICS,
    MOVABLE,
    RECIPE,
    SUMMARY,
    recipe_text,
    run_environment,
)
from drnn.training.state import FOLDER as CHECKPOINTS
from drnn.weights import Card
from drnn.weights.config import read_config
from drnn.weights.files import WEIGHTS, fingerprint
from drnn.weights.folder import CARD, CONFIG, pretrained_files

IN_SOME = (DATA, METRICS, AVERAGE, BUDGET)  # files that not every release has


def release(
    run: Path, folder: Path, data_root: str | None = None, license: str = "apache-2.0", average: bool = False
) -> Card:
    """Write what `drnn.from_pretrained` opens and what ``drnn eval``, ``analyze`` and ``export`` take for a run.

    The weights are evaluated again for the card. Places of the machine that trained them do not go along. A budget
    that was found for these weights does; another one of the run is left out.

    Args:
        run: a finished one.
        folder: made where it is missing; what it holds of an earlier release is replaced, and what this one has not is
            removed, a budget included.
        data_root: where the data set is, if not where the run's recipe says.
        license: of the weights.
        average: the moving average of the weights for the weights, of a run that kept one; a budget of the run, which
            is of the last ones, is left out then, and so is the log, whose errors are theirs.

    Raises:
        FileNotFoundError: no finished run, no data set, or no average.
        OSError: the disk is full, the folder is read-only, ...; an earlier release stays as it was.
        ValueError: ``run`` is a release, or ``folder`` the run itself or another run, or holds files of these names
            that no release has left there.
    """
    if folder.resolve() == run.resolve():
        raise ValueError(f"{folder} received for the run and for its release; choose another folder")
    if of_a_run := [name for name in (ENVIRONMENT, SUMMARY, CHECKPOINTS) if (folder / name).exists()]:
        raise ValueError(f"{folder} received for the release, and it is a run ({of_a_run[0]} is there); choose another")
    if own := [name for name in (CONFIG, CARD, WEIGHTS, RECIPE, *IN_SOME) if (folder / name).exists()]:
        try:
            read_config(folder / CONFIG)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{folder} received for the release; {own[0]} is there, and is of no release: move it, or choose "
                "another folder"
            ) from error
    if (run / CONFIG).is_file():
        raise ValueError(f"{run} received for the run, and it is a released network; give the run that it was made of")
    refuse_place(folder / WEIGHTS)
    model, recipe, dataset = load_run(run, data_root, average)
    begun, environment = "", run_environment(run)
    if recipe.initial_weights is not None:  # whose place is of this machine
        begun = f", from weights of SHA-256 {environment.get(INITIAL, 'unknown')}"
        recipe = replace(recipe, initial_weights=None)
    found = evaluate_source(model, dataset).summary()
    card = Card.of(
        model,
        mean_macs=found["macs_mean"],
        loops_histogram=found["loops_histogram"],
        recipe=told(recipe) + begun + (", moving average of the weights" if average else ""),
        commit=environment["commit"],
        dataset=f"{dataset.name}, {found['images']:,} {tested_images(recipe.held_out)}",
        error=[1 - found["acc1"]],
        license=license,
    )
    files = pretrained_files(folder, model, card=card)
    files = {CONFIG: files.pop(CONFIG), **files}  # first in its place: a folder that has it is a release
    own = Recipe()
    kept = {**recipe.to_dict(), **{key: getattr(own, key) for key in MOVABLE}}
    files[RECIPE] = text_writer(recipe_text(kept))
    for name in (DATA,) if average else (DATA, METRICS, AVERAGE):  # errors in the log are of the last weights
        if (run / name).is_file():
            files[name] = partial(shutil.copyfile, run / name)
    if not average and (budget := _budget_of(run, files[WEIGHTS])) is not None:
        files[BUDGET] = text_writer(json_text(budget_fields(budget)))
    foreign = set(IN_SOME) - files.keys()
    write_together({folder / name: write for name, write in files.items()}, [folder / name for name in foreign])
    return card


def told(recipe: Recipe) -> str:
    """A recipe in a line: its name, length and seed, and what it has otherwise than the one of that name.

    Example:
        >>> from drnn.training import find_recipe
        >>> told(replace(find_recipe("cifar10-dr74"), epochs=50, milestones=(21, 36), clip_norm=1.0))
        'cifar10-dr74, 50 epochs, seed 0, clip_norm 1.0'
    """
    elsewhere = {*MOVABLE, "epochs", "milestones", "seed", "held_out"}  # told already, or no choice
    fields = {key: value for key, value in changed_fields(recipe).items() if key not in elsewhere}
    line = f"{recipe.name}, {recipe.epochs} epochs, seed {recipe.seed}"
    return ", ".join([line, *(f"{key} {value}" for key, value in fields.items())])


def _budget_of(run: Path, write_weights: Write) -> Budget | None:
    """The run's budget for the same weights in the file that ``write_weights`` makes, which has other bytes."""
    try:
        budget = read_budget(run)
    except (FileNotFoundError, ValueError):
        return None
    with TemporaryDirectory() as place:
        write_weights(Path(place) / WEIGHTS)
        own = fingerprint(Path(place))
    where = {key: value for key, value in budget.environment.items() if key != "command"}  # which names places
    return replace(budget, weights_sha256=own, environment=where)
