"""Runs side by side, each a process of its own; stopped at any moment, nothing is lost."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

import torch

from drnn.reproduce.plan import Job
from drnn.reproduce.result import result_of
from drnn.storage import write_json
from drnn.training.interrupt import Interrupted, polite_end
from drnn.training.listing import read_metrics
from drnn.training.run_folder import RECIPE, SUMMARY, read_recipe

log = logging.getLogger("drnn.reproduce")
LOG = "train.log"


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

    A run that was begun goes on where it stopped. When the budget is spent, or on SIGTERM or Ctrl-C, every run is asked
    to save itself and end.

    Args:
        jobs: see `drnn.reproduce.plan`.
        parallel: runs at a time.
        budget_minutes: when to stop; None for when all is done.
        places: fields of the recipes that say where to run: data_root, download, device, workers.
        report: gets a line when something begins or ends.

    Returns:
        One outcome a job. A failed run's last words are in its folder's ``train.log``.

    Raises:
        ValueError: less than one run at a time, or a budget that is not above 0.
        Interrupted: SIGTERM or Ctrl-C; every run was saved.
    """
    if parallel < 1 or (budget_minutes is not None and budget_minutes <= 0):
        raise ValueError(f"parallel {parallel} and budget {budget_minutes} minutes received; each is above 0")
    deadline = None if budget_minutes is None else time.monotonic() + 60 * budget_minutes
    places, states = places or {}, {job.file: "finished" if job.file.is_file() else "not begun" for job in jobs}
    waiting = [job for job in jobs if states[job.file] != "finished"]
    running: list[_Running] = []
    with polite_end() as requests:
        while waiting or running:
            stop = requests.received is not None or (deadline is not None and time.monotonic() > deadline)
            if stop:
                waiting = []
                for each in running:
                    each.ask_to_end()
            while waiting and len(running) < parallel:
                job = waiting.pop(0)
                report(f"{job.file.stem}: {progress(job)}")
                running.append(_Running(job, places))
            for each in [each for each in running if each.process.poll() is not None]:
                running.remove(each)
                states[each.job.file] = each.conclude(places.get("data_root"), report)
            time.sleep(0.2)
    if requests.received is not None:
        raise Interrupted(requests.received, "every run is saved; run the command again to go on")
    return [Outcome(job, states[job.file]) for job in jobs]


class _Running:
    """A process that trains."""

    def __init__(self, job: Job, places: dict):
        job.folder.mkdir(parents=True, exist_ok=True)
        self.job, self.asked = job, False
        self.log: IO[str] = open(job.folder / LOG, "a", encoding="utf-8")  # noqa: SIM115, closed in conclude
        self.process = subprocess.Popen(
            command(job, places), stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True
        )

    def ask_to_end(self) -> None:
        """Once: a second signal would not be waited for."""
        if not self.asked:
            self.asked = True
            self.process.send_signal(signal.SIGTERM)

    def conclude(self, data_root: str | None, report: Callable[[str], None]) -> str:
        """Write the result, or say why there is none."""
        self.log.close()
        name, code = self.job.file.stem, self.process.returncode
        if self.asked and code != 0:
            report(f"{name}: stopped, {progress(self.job)}")
            return "stopped"
        if code == 0:
            try:
                result = result_of(self.job, data_root)
            except (ValueError, OSError) as error:
                report(f"{name}: {error}")
                return "failed"
            write_json(self.job.file, result)
            report(f"{name}: error {result['error']:.2%}, written to {self.job.file}")
            return "finished"
        words = (self.job.folder / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        report(f"{name}: failed with code {code}: {words[-1] if words else 'no output'}")
        return "failed"


def command(job: Job, places: dict) -> list[str]:
    """The `drnn train` of a job. A run that was begun keeps the threads it has: they change its last bits."""
    changes = {**job.changes, **places}
    if (job.folder / RECIPE).is_file():
        changes["threads"] = read_recipe(job.folder).threads
    fields = [part for key, value in changes.items() for part in (f"--{key}", _text(value))]
    return [sys.executable, "-m", "drnn", "train", job.base, *fields, "--out", str(job.folder), "--quiet"]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def progress(job: Job) -> str:
    """Where a run stands, in words."""
    if (job.folder / SUMMARY).is_file():
        return "trained, to be evaluated"
    return f"after {len(read_metrics(job.folder))} of {job.recipe.epochs} epochs"


def room(device: str) -> tuple[int, int]:
    """How many small networks train well side by side here, and the CPU threads of each: (runs, threads).

    On a CPU one run a core: small networks do not fill two. On a GPU a few, for they do not fill that either.
    """
    cores = os.cpu_count() or 1
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    return (max(1, min(4, cores // 2)), 1) if on_gpu else (cores, 1)
