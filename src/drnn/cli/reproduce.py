"""``drnn reproduce table1`` and ``drnn reproduce ablation``."""

from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser, Namespace

from drnn.data.augment import PaddingMode
from drnn.reproduce import Job, ablation, run_jobs, table1
from drnn.reproduce.plan import TOLD
from drnn.reproduce.report import ablation_markdown, table1_markdown
from drnn.reproduce.runner import progress, room
from drnn.reproduce.times import time_rows


def parser() -> ArgumentParser:
    """The options."""
    made = ArgumentParser(
        prog="drnn reproduce",
        description="Run an experiment of the paper on CIFAR-10: what is missing is run, what was begun goes on, what "
        "has a result file stays. table1: the networks of Table 1. ablation: one of them without its parts, as Table 3 "
        "does on ImageNet, and with the gate's noise read in three ways; tested on 5,000 held-out training images.",
    )
    made.add_argument("what", type=Literal["table1", "ablation"], help="the experiment")
    made.add_argument(
        "--rows", type=str, default=None, help="rows of Table 1, a,b,c, or resnet16, a control; else all of them"
    )
    made.add_argument(
        "--recipe", type=Literal["paper", "modern", "short"], default="paper", help="350, 200 or 20 epochs"
    )
    made.add_argument("--seeds", type=str, default="0", help="a,b,c: every row takes the first, then the next")
    made.add_argument("--epochs", type=int, default=None, help="another length; kept apart from the recipe's own")
    made.add_argument("--train_images", type=int, default=None, help="fewer images; kept apart likewise")
    made.add_argument("--cutout", type=int, default=None, help="another side of the square greyed out; likewise")
    made.add_argument("--padding_mode", type=PaddingMode, default=None, help="of random windows; likewise")
    made.add_argument("--budget_minutes", "--budget-minutes", type=float, default=None, help="then save all and stop")
    made.add_argument("--parallel", type=int, default=0, help="runs side by side; 0: what the device has room for")
    made.add_argument("--threads", type=int, default=0, help="CPU threads of each; 0: what is left of the cores")
    made.add_argument("--data_root", type=str, default="data", help="where CIFAR-10 is")
    made.add_argument("--download", action="store_true", help="fetch CIFAR-10 where it is missing")
    made.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    made.add_argument("--runs", type=str, default="runs/cifar10", help="where runs are kept")
    made.add_argument("--results", type=str, default="results/cifar10", help="where result files are written")
    made.add_argument("--time", action="store_true", help="also time the finished networks, when all else is done")
    made.add_argument("--dry_run", action="store_true", help="only say what would be run")
    return made


def run(argv: list[str]) -> int:
    """Run what is missing, and print the table; 1 where a run failed."""
    options = parser().parse_args(argv)
    jobs = plan(options)
    if options.dry_run:
        for job in jobs:
            print(f"{job.file}: {'there' if job.file.is_file() else progress(job)}")
        return 0
    places = {key: options[key] for key in ("data_root", "download", "device")}
    outcomes = run_jobs(jobs, options.parallel or room(options.device)[0], options.budget_minutes, places)
    if options.time and options.what == "table1" and not any(each.state == "stopped" for each in outcomes):
        time_rows(jobs, 256, 20, options.data_root)
    show = table1_markdown if options.what == "table1" else ablation_markdown
    for folder in dict.fromkeys(job.file.parent for job in jobs if job.file.is_file()):
        print(f"{folder}\n\n{show(folder)}")
    left = [each for each in outcomes if each.state != "finished"]
    for each in left:
        print(f"{each.job.file}: {each.state}, {progress(each.job)}")
    return 1 if any(each.state == "failed" for each in left) else 0


def plan(options: Namespace) -> list[Job]:
    """The jobs that the options ask for."""
    asked = {key: options[key] for key in TOLD if options[key] is not None}
    asked["threads"] = options.threads or room(options.device)[1]
    rows, seeds = _list(options.rows or ""), _seeds(options.seeds)
    folders = Path(options.runs), Path(options.results)
    if options.what == "table1":
        return table1(rows, options.recipe, seeds, asked, *folders)
    asked["held_out"] = 5000
    chosen = rows or ["dr_resnet16"]
    return [job for row in chosen for job in ablation(row, options.recipe, seeds, asked, *folders)]


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in _list(text)]
    except ValueError:
        raise ValueError(f"seeds {text!r} received; give whole numbers such as 0,1,2") from None
