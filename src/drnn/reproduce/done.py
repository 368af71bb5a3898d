"""Which jobs are done: those whose result file is of the very run that is asked for."""

from drnn.reproduce.plan import Job
from drnn.reproduce.result import ANOTHER, read_result
from drnn.training.recipe_fields import recipe_from_dict
from drnn.training.run_folder import differences


def is_done(job: Job) -> bool:
    """Whether the job has its result, wherever and on whatever threads it was trained.

    Raises:
        ValueError: the file is damaged, or of another run.
    """
    if not job.file.is_file():
        return False
    there = read_result(job.file)
    asked = {"row": job.row, "label": job.label, "seed": job.recipe.seed}
    other = [f"{key} {there[key]!r} there, {due!r} asked" for key, due in asked.items() if there[key] != due]
    other += differences(recipe_from_dict(there["recipe"]), job.recipe)
    if other:
        raise ValueError(f"{job.file} is the result of another run: {'; '.join(other)}; {ANOTHER}")
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
