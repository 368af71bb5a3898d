"""``drnn runs [FOLDER]``."""

from pathlib import Path

from jsonargparse import ArgumentParser

from drnn.training.listing import list_runs

ABOUT = (
    "List the runs below a folder: their best and last test error, and the loops that a training image took in the "
    "last epoch."
)


def run(argv: list[str]) -> None:
    """List runs."""
    parser = ArgumentParser(prog="drnn runs", description=ABOUT)
    parser.add_argument("folder", type=str, nargs="?", default="runs", help="where the runs are kept")
    folder = parser.parse_args(argv).folder
    lines = list_runs(Path(folder))
    width = max(len(line.folder) for line in lines)
    print(f"{'run':{width}} {'model':20} {'epochs':>9} {'best error':>10} {'last':>8} {'train loops':>11}  state")
    for line in lines:
        best, last = ("-" if error is None else f"{error:.2%}" for error in (line.best_error, line.last_error))
        loops = "-" if line.mean_loops is None else f"{line.mean_loops:.2f}"
        print(
            f"{line.folder:{width}} {line.model:20} {line.done:4} /{line.epochs:3} {best:>10} {last:>8} {loops:>11}  "
            f"{line.state}"
        )
