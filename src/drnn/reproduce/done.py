"""Which jobs are done: those whose result file is of the very run that is asked for."""

from drnn.reproduce.plan import Job
from drnn.reproduce.result import ANOTHER, TIMES, begun_from, read_result
from drnn.training.beginning import beginning_file
from drnn.training.recipe_fields import recipe_from_dict
from drnn.training.run_folder import differences
from drnn.weights.files import fingerprint


def is_done(job: Job) -> bool:
    """Whether the job has its result, wherever and on whatever threads it was trained.

    Raises:
        ValueError: the file is damaged, or of another run.
    """
    if not job.file.is_file():
        return False
    there = read_result(job.file)
    due = {"row": job.row, "label": job.label, "seed": job.recipe.seed}
    other = [f"{key} {there[key]!r} there, {value!r} asked" for key, value in due.items() if there[key] != value]
    other += differences(recipe_from_dict(there["recipe"]), job.recipe)
    if (begun := begun_from(there)) and (asked := _weights_asked(job)) not in (None, begun):
        other.append(f"initial_weights of SHA-256 {begun[:12]} there, {asked[:12]} asked")
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


def require_start(job: Job) -> None:
    """Refuse, before it trains, a job whose result would lie beside some of runs that began from other weights.

    Raises:
        FileNotFoundError: no weights where it is to begin.
        ValueError: results in its folder that began from others: a label names their folder alone.
    """
    if job.recipe.initial_weights is None:
        return
    path = beginning_file(job.recipe.initial_weights)
    asked = fingerprint(path.parent, path.name)
    for file in sorted(job.file.parent.glob("*.json")):
        there = begun_from(read_result(file)) if file.name != TIMES else None
        if there not in (None, asked):
            raise ValueError(
                f"{path} has the SHA-256 {asked[:12]}, and {file} began from weights of {there[:12]}; a table holds "
                "runs of one beginning: give those weights, or choose another --runs and --results"
            )


def _weights_asked(job: Job) -> str | None:
    """SHA-256 of the weights that a job begins with; None where it begins fresh, or they are not here."""
    if job.recipe.initial_weights is None:
        return None
    try:
        path = beginning_file(job.recipe.initial_weights)
    except FileNotFoundError:
        return None
    return fingerprint(path.parent, path.name)
