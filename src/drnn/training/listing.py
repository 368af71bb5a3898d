"""Runs on disk at a glance."""

from dataclasses import dataclass
from pathlib import Path

from drnn.training.run_folder import METRICS, RECIPE, SUMMARY, read_metrics, read_recipe
from drnn.weights.folder import CONFIG


@dataclass(frozen=True)
class RunLine:
    """One run.

    Attributes:
        folder: its path.
        model: the network's name.
        done: epochs that were evaluated.
        epochs: of its recipe.
        best_error: lowest test error of any epoch, None where none was evaluated; shown for orientation, while
            results report the last epoch.
        last_error: of the last one.
        mean_loops: loops per training image in the last epoch.
        state: "finished", "unfinished", or what is wrong with its files.
    """

    folder: str
    model: str
    done: int
    epochs: int
    best_error: float | None
    last_error: float | None
    mean_loops: float | None
    state: str


def list_runs(root: Path) -> list[RunLine]:
    """Every run folder at or below ``root``, in order of its path.

    Raises:
        FileNotFoundError: there is none.
    """
    folders = sorted(path.parent for path in root.rglob(RECIPE))
    if not folders:
        raise FileNotFoundError(f"no runs below {root}; drnn train makes them in runs/")
    return [_line(folder) for folder in folders]


def _line(folder: Path) -> RunLine:
    try:
        recipe = read_recipe(folder)
    except ValueError as error:
        return RunLine(str(folder), "?", 0, 0, None, None, None, str(error))
    try:
        metrics = read_metrics(folder)
    except ValueError as error:
        return RunLine(str(folder), recipe.model, 0, recipe.epochs, None, None, None, str(error))
    if lacking := [line for line in metrics if not {"test_error", "mean_loops"} <= line.keys()]:
        state = f"{folder / METRICS} has a line without test_error or mean_loops: {lacking[0]}"
        return RunLine(str(folder), recipe.model, len(metrics), recipe.epochs, None, None, None, state)
    errors = [line["test_error"] for line in metrics]
    ended = (folder / SUMMARY).is_file() or (folder / CONFIG).is_file()  # a released run has no summary
    state = "finished" if ended else "unfinished"
    best, last = (min(errors), errors[-1]) if errors else (None, None)
    loops = metrics[-1]["mean_loops"] if metrics else None
    return RunLine(str(folder), recipe.model, len(metrics), recipe.epochs, best, last, loops, state)
