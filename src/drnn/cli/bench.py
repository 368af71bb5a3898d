"""``drnn bench inference``."""

import os
from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser

from drnn.bench.inference import cases_for, read_entries, run_cases
from drnn.bench.report import markdown
from drnn.inference.counterparts import COUNTERPARTS


def parser() -> ArgumentParser:
    """The options."""
    made = ArgumentParser(
        prog="drnn bench inference",
        description="Time a recursive network against a static one in pairs, with random weights and gates that do "
        "their work and then follow a script: Figure 8's spread for dr_resnet53, else the target rate. efficiency = "
        "(static time / ours) / (static multiply-adds / ours executed); limit: the same if leaving cost nothing. "
        "Measurements that the file already holds are not repeated.",
    )
    made.add_argument("what", type=Literal["inference"], help="what to time")
    made.add_argument("--first", type=str, default="dr_resnet53", help="a recursive network")
    made.add_argument("--second", type=str, default=None, help="a static network; its counterpart by default")
    made.add_argument("--batch_sizes", type=list[int], default=[1, 8, 32], help="images at a time")
    made.add_argument("--threads", type=list[int], default=[1, os.cpu_count() or 1], help="CPU threads")
    made.add_argument("--forms", type=list[str], default=["plain", "optimised"], help="of both networks")
    made.add_argument("--line", type=bool, default=False, help="sweep the rate from 1 to 0 instead")
    made.add_argument("--rounds", type=int, default=20, help="pairs a measurement")
    made.add_argument("--limit", type=int, default=None, help="stop after so many new measurements")
    made.add_argument("--device", type=str, default="cpu", help="cpu, cuda, ...")
    made.add_argument("--seed", type=int, default=0, help="of weights, images and loops")
    made.add_argument("--json", type=str, default="runs/inference.json", help="the result file, added to")
    return made


def run(argv: list[str]) -> None:
    """Measure what is missing, and print the file as a table."""
    options = parser().parse_args(argv)
    second = options.second or COUNTERPARTS.get(options.first)
    if second is None:
        raise ValueError(f"{options.first} has no static counterpart here; name one with --second")
    pair, file, left = (options.first, second), Path(options.json), options.limit
    for threads in dict.fromkeys(options.threads):
        cases = cases_for(
            pair, options.batch_sizes, options.forms, options.rounds, options.line, options.seed, options.device
        )
        for entry in run_cases(cases, threads, file, left):
            left = None if left is None else left - 1
            print(f"{entry['form']}, batch {entry['batch_size']}, {threads} threads: {entry['efficiency']:.3f}")
    print(markdown(read_entries(file)), end="")
