"""Result files as tables: what the paper printed beside what was measured here."""

from collections.abc import Callable, Hashable, Iterable
from operator import itemgetter
from pathlib import Path
from statistics import mean, stdev
from typing import TypeVar

from drnn.reproduce.plan import row_of
from drnn.reproduce.result import read_results
from drnn.reproduce.times import times_of
from drnn.tables import TABLE1

OUTCOME = ("network", "paper error %", "error %", "seeds", "M multiply-adds an image", "time / static")
ROW = itemgetter("row")
Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)
PAPER = {row_of(row.model): row for row in TABLE1}


def spread(values: list[float], show: Callable[[float], str]) -> str:
    """Mean, and standard deviation (n - 1) where there are two values or more."""
    text = show(mean(values))
    return f"{text} +- {show(stdev(values))}" if len(values) > 1 else text


def table1_markdown(folder: Path) -> str:
    """Table 1 from the result files of one folder, and under it where its times were measured."""
    results = read_results(folder)
    times = times_of(folder, results)
    head = (
        "row", "paper error %", "error %", "of the average %", "n", "params M: paper", "live", "M MACs: paper",
        "mean +- between images", "most", "loops", "ms an image / static", "time / static",
    )  # fmt: skip
    lines = [head, ("---",) * len(head)]
    for row, runs in grouped(results, ROW).items():
        paper, timed, alike = PAPER.get(row), times.get(row), runs[0]  # read_results: parameters and most are alike
        lines.append((
            row, _shown(paper and paper.error, "{}"), errors(runs), averages(runs), str(len(runs)),
            _shown(paper and paper.params, "{}"), f"{alike['params'] / 1e6:.2f}",
            _shown(paper and paper.macs and paper.macs * 1e3, "{:.0f}"),
            macs_of_images(runs), f"{alike['max_macs'] / 1e6:.1f}", loops(runs),
            f"{timed['ms']:.3f} / {_shown(timed['against_ms'], '{:.3f}')}" if timed else "-",
            _shown(timed["ratio"] if timed else None, "{:.2f}"),
        ))  # fmt: skip
    return markdown(lines) + _origin_of(times)


def outcomes(results: list[dict], times: dict[str, dict]) -> list[tuple[str, ...]]:
    """Columns `OUTCOME` of Table 1: a row a network, means over its seeds."""
    return [
        (row, _shown((paper := PAPER.get(row)) and paper.error, "{}"), errors(runs), str(len(runs)),
         f"{macs(runs):.1f}", _shown(times[row]["ratio"] if row in times else None, "{:.2f}"))
        for row, runs in grouped(results, ROW).items()
    ]  # fmt: skip


def ablation_markdown(folder: Path) -> str:
    """Table 3 in small from the result files of one folder."""
    head = ("variant", "error %", "of the average %", "training error %", "n", "loops", "M MACs", "rates of the gates")
    lines = [head, ("---",) * len(head)]
    for row, runs in grouped(read_results(folder), ROW).items():
        lines.append((
            row, errors(runs), averages(runs), training_errors(runs), str(len(runs)), loops(runs),
            f"{macs(runs):.1f}", _rates(runs),
        ))  # fmt: skip
    return markdown(lines)


def _origin_of(times: dict[str, dict]) -> str:
    """A line for each occasion on which rows were timed; "-" where it was not written down."""
    rows: dict[str, list[str]] = {}
    for row, timed in times.items():
        where, seed, other = timed["environment"], timed.get("seed", "-"), timed.get("against_seed")
        seeds = f"seed {seed}" if other in (None, seed) else f"seed {seed} against seed {other}"
        said = (
            f"{seeds}, {timed['rounds']} pairs of batches of {timed['batch_size']}, device {timed.get('device', '-')}, "
            f"{where['processor']}, threads {where['threads']}, commit {where['commit']}, {where['date'][:10]}"
        )
        rows.setdefault(said, []).append(row)
    return "".join(f"\nTimes of {', '.join(names)}: {said}.\n" for said, names in rows.items())


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def grouped(items: Iterable[Item], by: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """Items with the same key together, in the order of the first of each."""
    groups: dict[Key, list[Item]] = {}
    for item in items:
        groups.setdefault(by(item), []).append(item)
    return groups


def errors(runs: list[dict]) -> str:
    """Of the last weights, in percent."""
    return spread([run["error"] for run in runs], _percent)


def averages(runs: list[dict]) -> str:
    """Errors of the moving average of the weights; "-" where none was kept."""
    kept = [run["average"]["error"] for run in runs if run["average"]]
    return spread(kept, _percent) if kept else "-"


def training_errors(runs: list[dict]) -> str:
    """Of the last epoch, on the images as training shows them."""
    return spread([run["epochs"][-1]["train_error"] for run in runs], _percent)


def loops(runs: list[dict]) -> str:
    """Mean, and how many there are."""
    slots = runs[0]["max_loops"]
    return f"{mean(run['mean_loops'] for run in runs):.2f} of {slots}" if slots else "-"


def macs(runs: list[dict]) -> float:
    """Millions of multiply-adds an image."""
    return mean(run["macs_mean"] for run in runs) / 1e6


def macs_of_images(runs: list[dict]) -> str:
    """The same, and their standard deviation between images."""
    return f"{macs(runs):.1f} +- {mean(run['macs_std'] for run in runs) / 1e6:.1f}"


def _rates(runs: list[dict]) -> str:
    """Means over the seeds of each gate's rate; a seed in which no image arrived at a gate says nothing of it."""
    gates = zip(*(run["executed_rates"] for run in runs), strict=True)
    known = ([rate for rate in rates if rate is not None] for rates in gates)
    return " ".join(f"{mean(rates):.2f}" if rates else "-" for rates in known)


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def markdown(lines: list[tuple]) -> str:
    """Rows of cells as a table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
