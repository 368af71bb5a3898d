"""Which runs an experiment is made of, in the order in which they are worth having."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from drnn.reproduce.changes import label_of, milestones_for, refuse_idle, require_images
from drnn.training import Recipe, find_recipe
from drnn.training.recipe_fields import recipe_from_dict
from drnn.training.recipes import CIFAR10_MODELS

SCHEDULES = {"paper": "", "modern": "-modern", "short": "-short"}  # 350, 200 and 20 epochs: suffix of the recipes
ROWS = (  # of Table 1, what answers most comes first
    "dr_resnet16", "resnet20", "dr_resnet74", "resnet110", "dr_resnet40", "resnet56", "dr_resnet54", "dr_resnet58",
    "dr_resnet66", "dr_resnet32", "aig_resnet110", "sd_resnet110", "preresnet110", "rcnn160",
)  # fmt: skip
CONTROLS = ("resnet16",)  # not in the paper: the blocks of dr_resnet16 once each, at about the cost of what it executes
TESTED_ON = {"held_out": 5000}  # the ablation: it is there to choose by
VARIANTS: dict[str, dict[str, str]] = {  # of Table 3, and how the gate's noise may be read
    "naive": {"gate": "open", "norm": "shared"},
    "L": {"gate": "open", "norm": "lvbn"},
    "L+G": {"norm": "lvbn"},
    "L+G+I": {"norm": "ilvbn"},
    "L+G+I, noise in training": {"norm": "ilvbn", "gate_noise": "training"},
    "L+G+I, noise always": {"norm": "ilvbn", "gate_noise": "always"},
}


def row_of(model: str) -> str:
    """The row of Table 1 that a network is in.

    Example:
        >>> row_of("dr_resnet16_cifar")
        'dr_resnet16'
    """
    return model.removesuffix("_cifar")


def stem(row: str, seed: int) -> str:
    """Name of a run's folder and, with ".json", of its result.

    Example:
        >>> stem("dr_resnet16", 0), stem("L+G+I, noise always", 1)
        ('dr_resnet16-0', 'lgi-noise-always-1')
    """
    return f"{row if row in (*ROWS, *CONTROLS) else _slug(row)}-{seed}"


def _slug(variant: str) -> str:
    return variant.lower().replace("+", "").replace(", ", "-").replace(" ", "-")


_RECIPES = {row_of(model): key for key, model in CIFAR10_MODELS.items()}


@dataclass(frozen=True)
class Job:
    """One run of an experiment.

    Attributes:
        row: of the table.
        label: the schedule, and what was changed of it; names the folder of the results.
        recipe: what is trained, seed included.
        base: name of the recipe that it starts from.
        changes: fields that differ from those of ``base``.
        folder: of the run.
        file: the result.
    """

    row: str
    label: str
    recipe: Recipe
    base: str
    changes: dict
    folder: Path
    file: Path

    @property
    def name(self) -> str:
        """In a line of a report: the network, and the file's name where that does not begin with it."""
        network = row_of(self.recipe.model)
        return self.file.stem if self.file.stem.startswith(network) else f"{network} {self.file.stem}"


def table1(
    rows: Sequence[str], schedule: str, seeds: Sequence[int], changes: dict, runs: Path, results: Path
) -> list[Job]:
    """The runs of Table 1: every row with the first seed, then with the next.

    Args:
        rows: as in `ROWS` or `CONTROLS`, in the order wanted; none for all of `ROWS`.
        schedule: one of `SCHEDULES`.
        seeds: one or more.
        changes: fields of the recipe that are the same for all, such as threads.
        runs: folder that keeps the runs, in a folder a schedule.
        results: folder of the result files, likewise.

    Raises:
        ValueError: a row or schedule that is not there, no seeds, a length that the schedule does not fit into, more
            images than there are or less than a batch, or a field of gates for a row without such, or with gate "open".
    """
    rows = _known(rows or ROWS, (*ROWS, *CONTROLS), "row")
    suffix = SCHEDULES[_known([schedule], tuple(SCHEDULES), "recipe")[0]]
    if not seeds:
        raise ValueError("no seeds received; give one or more, such as --seeds 0,1,2")
    refuse_idle(rows, changes)
    kept = dict.fromkeys((row, seed) for seed in seeds for row in rows)
    base = find_recipe(f"cifar10-{_RECIPES[rows[0]]}{suffix}")
    label = label_of(schedule, changes, base)
    changes = {**changes, **milestones_for(base, changes.get("epochs", base.epochs))}
    return [
        _job(row, label, f"cifar10-{_RECIPES[row]}{suffix}", {**changes, "seed": seed}, runs, results)
        for row, seed in kept
    ]


def ablation(row: str, schedule: str, seeds: Sequence[int], changes: dict, runs: Path, results: Path) -> list[Job]:
    """Table 3 in small: one network of Table 1 without its parts, and with the other readings of the gate's noise.

    Args:
        row: a gated network of `ROWS`.
        schedule: one of `SCHEDULES`.
        seeds: one or more; every variant takes each.
        changes: fields of the recipe that are the same for all; it is tested on 5,000 held-out training images
            where they do not say.
        runs: folder that keeps the runs.
        results: folder of the result files.

    Raises:
        ValueError: as for `table1`; a row that has no recursive blocks, no held-out image, or a gate or its noise,
            which the variants set, or a pass that variants without gates do not have.
    """
    if set_by := sorted({"gate", "gate_noise"} & changes.keys()):
        raise ValueError(f"{set_by[0]} received; the variants of the ablation set it: leave it out")
    if "every_loop_weight" in changes:
        raise ValueError("every_loop_weight received; naive and L have no gates that leave loops out: leave it out")
    if changes.get("held_out", 1) < 1:
        raise ValueError(
            f"held_out {changes['held_out']} received; an ablation is tested on one held-out image or more"
        )
    told = {key: value for key, value in changes.items() if TESTED_ON.get(key) != value}
    base = table1([row], schedule, seeds, told, runs, results)
    place = f"ablation-{row}"
    if not row.startswith("dr_"):
        raise ValueError(f"row {row!r} received; an ablation needs recursive blocks: choose one that begins with dr_")
    return [
        _job(variant, job.label, job.base, {**TESTED_ON, **job.changes, **fields}, runs / place, results / place)
        for job in base
        for variant, fields in VARIANTS.items()
    ]


def _job(row: str, label: str, base: str, changes: dict, runs: Path, results: Path) -> Job:
    recipe = recipe_from_dict(changes, find_recipe(base))
    require_images(recipe)
    name = stem(row, recipe.seed)
    return Job(row, label, recipe, base, changes, runs / label / name, results / label / f"{name}.json")


def _known(asked: Sequence[str], there: tuple[str, ...], what: str) -> Sequence[str]:
    for name in asked:
        if name not in there:
            near = get_close_matches(str(name), there, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(there)}"
            raise ValueError(f"there is no {what} {name!r}; {hint}")
    return asked
