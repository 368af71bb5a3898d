"""``drnn calibrate RUN --macs 0.8``."""

from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser

from drnn.budgets import Budget, write_budget
from drnn.budgets.budget import BUDGET
from drnn.budgets.calibrate import calibrate
from drnn.budgets.request import parse_request
from drnn.storage import refuse_place


def run(argv: list[str]) -> None:
    """Find thresholds for a budget, and keep them beside the weights."""
    parser = ArgumentParser(
        prog="drnn calibrate",
        description="Turn a run's gates, without training, until an image costs what is asked for on average. The "
        "thresholds are found on training images, which the network has learnt from, and kept in budget.json beside "
        "the weights, where drnn eval --budget and drnn predict --budget find them. A request that is missed by more "
        "than 2 % on those images is an error, and leaves an older budget.json as it is.",
    )
    parser.add_argument("run", type=str, help="the folder of a finished run")
    parser.add_argument("--macs", type=str, default=None, help="0.8 of the static network's multiply-adds; 4.5G; 80M")
    parser.add_argument("--ms", type=float, default=None, help="milliseconds an image: here, optimised, at batch 1")
    parser.add_argument(
        "--scope", type=Literal["global", "per_gate"], default="global", help="thresholds: one, or many"
    )
    parser.add_argument("--images", type=int, default=1000, help="training images to look at, at most")
    parser.add_argument("--data_root", type=str, default=None, help="where the data set is now, if it has moved")
    parser.add_argument(
        "--device", type=str, default="cpu", help="where it is timed, for --ms, and run: cpu, cuda, auto, ..."
    )
    options = parser.parse_args(argv)
    folder, request = Path(options.run), parse_request(options.macs, options.ms)
    refuse_place(folder / BUDGET)
    budget = calibrate(folder, request, options.scope, options.images, options.data_root, options.device)
    write_budget(folder, budget)
    found = budget.found
    print(
        f"{budget.model}: {found['macs_mean'] / 1e6:.3f} M multiply-adds an image on {found['images']} training images "
        f"({found['macs_mean'] / found['static_macs']:.3f} of the static network, asked for "
        f"{found['macs_target'] / 1e6:.3f} M){_measured(budget)}. Kept in {folder / BUDGET}"
    )


def _measured(budget: Budget) -> str:
    found = budget.found
    if "ms_mean" not in found:
        return ""
    return (
        f"; {budget.request['value']:.3f} ms an image asked for, {found['ms_mean']:.3f} ms measured on "
        f"{found['ms_images']} of them, optimised, at batch 1"
    )
