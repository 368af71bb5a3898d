"""``drnn reproduce table1``, ``drnn reproduce ablation`` and ``drnn reproduce trials``."""

from dataclasses import fields
from pathlib import Path
from typing import Literal, Optional

from jsonargparse import ArgumentParser, Namespace

from drnn.data import load_dataset
from drnn.reproduce import Job, ablation, run_jobs, table1
from drnn.reproduce.changes import TOLD
from drnn.reproduce.done import is_done
from drnn.reproduce.report import ablation_markdown, table1_markdown
from drnn.reproduce.runner import room, standing
from drnn.reproduce.times import time_rows
from drnn.reproduce.trials import labels_in, trials_in
from drnn.training import Recipe
from drnn.training.distributed import choose_device
from drnn.training.step import autocast


def parser() -> ArgumentParser:
    """The options."""
    made = ArgumentParser(
        prog="drnn reproduce",
        description="Run an experiment of the paper on CIFAR-10: what is missing is run, what was begun goes on, what "
        "has a result file stays. table1: the networks of Table 1. ablation: one of them without its parts, as Table 3 "
        "does on ImageNet, and with the gate's noise read in three ways; tested on 5,000 held-out training images. "
        "trials: runs nothing, and shows side by side what table1 has in --results by options such as --gate open.",
    )
    made.add_argument("what", type=Literal["table1", "ablation", "trials"], help="the experiment")
    made.add_argument(
        "--rows", type=str, default=None, help="rows of Table 1, a,b,c, or resnet16, a control; else all of them"
    )
    made.add_argument(
        "--recipe", type=Literal["paper", "modern", "short"], default="paper", help="350, 200 or 20 epochs"
    )
    made.add_argument("--seeds", type=str, default="0", help="a,b,c: every row takes the first, then the next")
    for field in fields(Recipe):
        if field.name in TOLD:
            words = f"{TOLD[field.name][1]}; kept apart from the recipe's own"
            made.add_argument(f"--{field.name}", type=Optional[field.type], default=None, help=words)  # noqa: UP045
    made.add_argument("--budget_minutes", "--budget-minutes", type=float, default=None, help="then save all and stop")
    made.add_argument("--parallel", type=int, default=0, help="runs side by side; 0: one a CPU core, or one on a GPU")
    made.add_argument("--threads", type=int, default=0, help="CPU threads of each; 0: its share of the cores")
    made.add_argument("--data_root", type=str, default="data", help="where CIFAR-10 is")
    made.add_argument("--download", action="store_true", help="fetch CIFAR-10 first where it is missing")
    made.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    made.add_argument("--runs", type=str, default="runs/cifar10", help="where runs are kept")
    made.add_argument("--results", type=str, default="results/cifar10", help="where result files are written")
    made.add_argument(
        "--time", action="store_true", help="also time the networks of table1, when every run is finished"
    )
    made.add_argument("--dry_run", action="store_true", help="only say what would be run")
    return made


def run(argv: list[str]) -> int:
    """Run what is missing, and print the table; 1 where a run failed."""
    options = parser().parse_args(argv)
    if options.what == "trials":
        return _print_trials(options)
    if options.time and options.what != "table1":
        raise ValueError("--time received for the ablation; only table1 has times: leave it out")
    jobs = plan(options)
    if options.dry_run:
        return _say(jobs)
    if options.download and not all(is_done(job) for job in jobs):
        load_dataset("cifar10", options.data_root, download=True)  # once, for all runs
    places = {key: options[key] for key in ("data_root", "device")}
    outcomes = run_jobs(jobs, room(options.device, options.parallel)[0], options.budget_minutes, places)
    left = [each for each in outcomes if each.state != "finished"]
    for each in left:
        print(f"{each.job.file}: {each.state}, {standing(each.job)[0]}")
    _print_tables(options.what, jobs)
    if options.time and left:
        print(f"nothing is timed: {len(left)} of {len(jobs)} runs are not finished; run the command again")
    elif options.time:
        time_rows(jobs, 256, 20, options.data_root)
        _print_tables(options.what, jobs)
    return 1 if any(each.state == "failed" for each in left) else 0


def _say(jobs: list[Job]) -> int:
    """What would be run, and 1 where something is in the way."""
    fine = True
    for job in jobs:
        text, accepted = standing(job)
        fine &= accepted
        if scaled := job.changes.get("milestones"):
            text += f"; learning rate divided after {' and '.join(map(str, scaled))} epochs"
        print(f"{job.file}: {text}")
    return 0 if fine else 1


def _print_tables(what: str, jobs: list[Job]) -> None:
    show = table1_markdown if what == "table1" else ablation_markdown
    for folder in dict.fromkeys(job.file.parent for job in jobs if job.file.is_file()):
        print(f"{folder}\n\n{show(folder)}")


def _print_trials(options: Namespace) -> int:
    usual = parser()
    for key in vars(options):
        if key not in ("what", "results") and options[key] != usual.get_default(key):
            raise ValueError(f"{key} received; trials shows what is there and runs nothing: give --results alone")
    root = Path(options.results)
    if not (there := trials_in(labels_in(root))):
        raise FileNotFoundError(f"{root} has no results of drnn reproduce table1; name their folder: --results DIR")
    for trials in there:
        print(f"{trials.command}\n\n{trials.markdown()}")
    return 0


def plan(options: Namespace) -> list[Job]:
    """The jobs that the options ask for.

    Raises:
        ValueError: what `table1` or `ablation` refuses, a device that is not here, or a precision that it has not.
    """
    asked = {key: options[key] for key in TOLD if options[key] is not None}
    asked["threads"] = options.threads or room(options.device, options.parallel)[1]
    rows, seeds = list(dict.fromkeys(_list(options.rows or ""))), _seeds(options.seeds)
    if options.rows is not None and not rows:
        raise ValueError(f"rows {options.rows!r} received; name one or more, such as --rows resnet20, or leave it out")
    folders = Path(options.runs), Path(options.results)
    if options.what == "table1":
        jobs = table1(rows, options.recipe, seeds, asked, *folders)
    else:
        jobs = [job for row in rows or ["dr_resnet16"] for job in ablation(row, options.recipe, seeds, asked, *folders)]
    autocast(jobs[0].recipe, choose_device(options.device))  # all have one precision
    return jobs


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in _list(text)]
    except ValueError:
        raise ValueError(f"seeds {text!r} received; give whole numbers such as 0,1,2") from None
