"""Results whose recipes differ in what was tried, and in nothing else, side by side."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from drnn.reproduce.changes import OF_BLOCKS, TOLD
from drnn.reproduce.plan import SCHEDULES, VARIANTS
from drnn.reproduce.report import averages, errors, grouped, loops, macs_of_images, markdown, training_errors
from drnn.reproduce.result import OF_A_ROW, ORDER, begun_from, read_results
from drnn.training.recipe_fields import recipe_from_dict
from drnn.training.recipes import RECIPES, changed_fields

# Options that may differ within a table; of TOLD, the others are the conditions.
TRIED = (*OF_BLOCKS, "clip_norm", "lr", "initial_weights")
HEAD = (
    "row", "options", "error %", "of the average %", "training error %", "n", "live params M",
    "M multiply-adds +- between images", "loops",
)  # fmt: skip


@dataclass(frozen=True)
class Trials:
    """Runs under the same conditions.

    Attributes:
        command: what `drnn reproduce` was asked for, but for rows, seeds and options.
        folders: of the result files, a folder an option or several.
        results: what is in them, by row, then options, then seed.
    """

    command: str
    folders: tuple[Path, ...]
    results: tuple[dict, ...]

    def markdown(self) -> str:
        """A line a row and its options, means over the seeds."""
        lines = [HEAD, ("---",) * len(HEAD)]
        rows = grouped(self.results, lambda result: (result["row"], begun_from(result), _words(_tried(result))))
        for (row, *_), runs in rows.items():
            options = _words(_changed(runs[0], TRIED))
            lines.append((
                row, f"`{options}`" if options else "-", errors(runs), averages(runs), training_errors(runs),
                str(len(runs)), f"{runs[0]['params'] / 1e6:.2f}", macs_of_images(runs), loops(runs),
            ))  # fmt: skip
        return markdown(lines)


def labels_in(root: Path) -> list[Path]:
    """The folders of results of Table 1 in the folder of all results; those of the ablation lie a folder deeper."""
    return sorted({file.parent for file in root.glob("*/*.json") if file.parent.name.split("-")[0] in SCHEDULES})


def trials_in(folders: Iterable[Path]) -> list[Trials]:
    """The results of Table 1 in some folders, those under the same conditions together.

    Args:
        folders: as `drnn reproduce table1` writes them, one a label.

    Raises:
        ValueError: what `read_results` refuses; or results of the ablation, or of a recipe that there is no more.
    """
    found = [(folder, result) for folder in folders for result in read_results(folder)]
    for folder, result in found:
        if result["row"] in VARIANTS or result["recipe"]["name"] not in RECIPES:
            raise ValueError(
                f"{folder} has results of {result['row']} by the recipe {result['recipe']['name']}, which are none of "
                "drnn reproduce table1; give the folder of its results"
            )
    return [
        Trials(
            command=_command(alike[0][1]),
            folders=tuple(dict.fromkeys(folder for folder, _ in alike)),
            results=tuple(sorted((result for _, result in alike), key=_place)),
        )
        for alike in grouped(found, lambda pair: _conditions(pair[1])).values()
    ]


def _conditions(result: dict) -> str:
    recipe = asdict(recipe_from_dict(result["recipe"]))  # a field that is younger than the file: as it was
    return repr([(key, value) for key, value in recipe.items() if key not in (*OF_A_ROW, *TRIED)] + [result["images"]])


def _changed(result: dict, fields: Iterable[str]) -> dict:
    changed = changed_fields(recipe_from_dict(result["recipe"]))
    return {key: changed[key] for key in fields if key in changed}


def _tried(result: dict) -> dict:
    """Without the place of the weights that it began with: which they are tells their fingerprint."""
    return _changed(result, (field for field in TRIED if field != "initial_weights" or not begun_from(result)))


def _command(result: dict) -> str:
    conditions = _words(_changed(result, (field for field in TOLD if field not in TRIED)))
    return f"drnn reproduce table1 --recipe {result['label'].split('-')[0]} {conditions}".rstrip()


def _words(changes: dict) -> str:
    return " ".join(f"--{key} {_word(value)}" for key, value in changes.items())


def _word(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _place(result: dict) -> tuple:
    options = _words(_changed(result, TRIED))
    return ORDER.index(result["row"]), len(options.split()), options, result["seed"]
