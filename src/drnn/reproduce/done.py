"""Which jobs are done: those whose result file is of the very run that is asked for."""

import json

from drnn.reproduce.plan import Job
from drnn.training.recipe import Recipe, recipe_from_dict
from drnn.training.run_folder import MOVABLE

FREE = ("threads", *MOVABLE)  # fields of the recipe in which a result may differ


def is_done(job: Job) -> bool:
    """Whether the job has its result. CPU threads may be others: a run that was begun keeps those it had.

    Raises:
        ValueError: the file is damaged, or of another run.
    """
    if not job.file.is_file():
        return False
    advice = "remove the file to have it made again, or choose another --results"
    try:
        there = json.loads(job.file.read_text(encoding="utf-8"))
        recipe = recipe_from_dict(there["recipe"])
        named = [(key, there[key]) for key in ("row", "label", "seed")]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{job.file} is no result of drnn reproduce ({error!r}); {advice}") from error
    here = {"row": job.row, "label": job.label, "seed": job.recipe.seed, **_told(job.recipe)}
    for key, old in [*named, *_told(recipe).items()]:
        if old != here[key]:
            raise ValueError(
                f"{job.file} is the result of another run: {key} {old!r} there, {here[key]!r} asked; {advice}"
            )
    return True


def require_apart(jobs: list[Job]) -> None:
    """Refuse two jobs that would write the same file or train in the same folder.

    Raises:
        ValueError: with what they share.
    """
    seen: set = set()
    for job in jobs:
        for path in (job.file, job.folder):
            if path in seen:
                raise ValueError(f"two jobs for {path} received; leave one out")
            seen.add(path)


def _told(recipe: Recipe) -> dict:
    return {key: value for key, value in recipe.to_dict().items() if key not in FREE}
