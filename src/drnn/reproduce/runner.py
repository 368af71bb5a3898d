"""Runs side by side, each a process of its own; stopped at any moment, nothing is lost."""

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from drnn.provenance import commit, usable_cores
from drnn.reproduce.done import is_done, require_apart, require_start
from drnn.reproduce.plan import Job
from drnn.reproduce.process import End, JobProcess, failure, progress
from drnn.training.interrupt import Interrupted, polite_end
from drnn.training.run_folder import RECIPE, differences, read_recipe

log = logging.getLogger("drnn.reproduce")


@dataclass(frozen=True)
class Outcome:
    """How a job ended: "finished", "stopped" by the budget or a signal, "failed", or "not begun"."""

    job: Job
    state: str


def run_jobs(
    jobs: list[Job],
    parallel: int,
    budget_minutes: float | None = None,
    places: dict | None = None,
    report: Callable[[str], None] = log.info,
) -> list[Outcome]:
    """Run what has no result file yet, ``parallel`` at a time in the order of ``jobs``, and write the results.

    A run that was begun goes on where it stopped. When the budget is spent, or on SIGTERM, SIGHUP or Ctrl-C, every run
    is asked to save itself and end; an evaluation that has begun is waited for.

    Args:
        jobs: see `drnn.reproduce.plan`.
        parallel: runs at a time.
        budget_minutes: when to stop; None for when all is done.
        places: fields of the recipes that say where to run: data_root, download, threads, workers, device.
        report: gets a line when something begins or ends.

    Returns:
        One outcome a job. A failed run's last words are in its folder's ``train.log``.

    Raises:
        ValueError: less than one run at a time, a budget that is not above 0, two jobs for one file or folder, a result
            file that is damaged or of another run, or beside what began from other weights; nothing was begun.
        FileNotFoundError: no weights where a job is to begin; nothing was begun.
        Interrupted: SIGTERM, SIGHUP or Ctrl-C, and whether every run was saved.
    """
    if parallel < 1 or (budget_minutes is not None and budget_minutes <= 0):
        raise ValueError(f"parallel {parallel} and budget {budget_minutes} minutes received; each is above 0")
    commit()  # asked now: results are written hours later, when the checkout may be another one
    require_apart(jobs)
    states = {job.file: "finished" if is_done(job) else "not begun" for job in jobs}
    waiting = [job for job in jobs if states[job.file] != "finished"]
    for job in waiting:
        require_start(job)
    crew = _Crew(waiting, places or {}, report)
    deadline = None if budget_minutes is None else time.monotonic() + 60 * budget_minutes
    with polite_end() as requests:
        try:
            while crew.waiting or crew.running:
                if requests.received is not None or (deadline is not None and time.monotonic() > deadline):
                    crew.ask_to_end()
                crew.begin(parallel)
                crew.look()
                time.sleep(0.2)
        finally:
            crew.abandon()
    if requests.received is not None:
        raise Interrupted(requests.received, crew.fate())
    return [Outcome(job, crew.states.get(job.file, states[job.file])) for job in jobs]


class _Crew:
    """The jobs that wait and those that run."""

    def __init__(self, waiting: list[Job], places: dict, report: Callable[[str], None]):
        self.waiting, self.places, self.report = waiting, places, report
        self.running: list[JobProcess] = []
        self.states: dict = {}
        self.asked, self.lost = False, []

    def begin(self, parallel: int) -> None:
        """Start what there is room for."""
        while self.waiting and len(self.running) < parallel:
            job = self.waiting.pop(0)
            try:
                stands = progress(job)
                begun = JobProcess(job, command(job, self.places), self.places.get("data_root"))
            except Exception as error:  # of whatever kind, the other jobs go on
                self.conclude(job, failure(error))
            else:
                self.running.append(begun)
                self.report(f"{job.name}: {stands}")

    def look(self) -> None:
        """Pass on what runs warn of, and take leave of what has ended."""
        for each in list(self.running):
            try:
                for warning in each.warnings():
                    self.report(f"{each.job.name}: {warning}")
                end = each.look()
            except Exception as error:  # such as files of the run that cannot be read
                end = failure(error)
            if end is not None:
                self.running.remove(each)
                self.conclude(each.job, end)

    def conclude(self, job: Job, end: End) -> None:
        """Note how a job ended, and say so."""
        self.states[job.file] = end.state
        if end.lost and (self.asked or end.state == "stopped"):
            self.lost.append(job.name)
        self.report(f"{job.name}: {'stopped, ' if end.state == 'stopped' else ''}{end.words}")

    def ask_to_end(self) -> None:
        """Begin nothing more, and let what runs save itself."""
        self.waiting, self.asked = [], True
        for each in self.running:
            each.ask_to_end()

    def abandon(self) -> None:
        """Leave no run behind: where an error or a second signal ended the loop, some may still be there."""
        for each in self.running:
            each.ask_to_end(again=True)
        for each in self.running:
            each.process.wait()

    def fate(self) -> str:
        """What became of the runs that were asked to end."""
        if self.lost:
            return f"not saved since the last checkpoint: {', '.join(self.lost)}; every other run is saved"
        return "every run is saved; run the command again to go on"


def command(job: Job, places: dict) -> list[str]:
    """The `drnn train` of a job.

    Raises:
        FileExistsError: a run of another recipe is in the job's folder.
        ValueError: the recipe of the run that is there cannot be read.
    """
    changes = {**job.changes, **places}
    if (job.folder / RECIPE).is_file() and (other := differences(read_recipe(job.folder), job.recipe)):
        raise FileExistsError(
            f"{job.folder} holds a run of another recipe ({'; '.join(other)}); remove the folder to run this one, "
            "or choose another --runs"
        )
    fields = [part for key, value in changes.items() for part in (f"--{key}", _text(value))]
    return [sys.executable, "-m", "drnn", "train", job.base, *fields, "--out", str(job.folder), "--quiet"]


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return str(list(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def standing(job: Job) -> tuple[str, bool]:
    """What `run_jobs` would find, in words, and whether it would accept that."""
    try:
        if is_done(job):
            return "there", True
        require_start(job)
        command(job, {})
        return progress(job), True
    except (ValueError, OSError) as error:
        return str(error), False


def room(device: str, parallel: int = 0) -> tuple[int, int]:
    """How many small networks to train side by side here, and the CPU threads of each: (runs, threads).

    On a CPU one run a core: small networks do not fill two. On a GPU one: side by side they would take turns, and what
    comes first in the plan would be there last.

    Args:
        device: of the recipes.
        parallel: how many were asked for; 0 for as many as there is room for.
    """
    cores = usable_cores()
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    runs = parallel or (1 if on_gpu else cores)
    return runs, max(1, cores // runs)
