"""Result files as tables: what the paper printed beside what was measured here."""

import json
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev

from drnn.reproduce.plan import CONTROLS, ROWS, VARIANTS
from drnn.tables import TABLE1

TIMES = "times.json"
PAPER = {row.model.removesuffix("_cifar"): row for row in TABLE1}


def read_results(folder: Path) -> list[dict]:
    """Every result file in a folder, by row and seed.

    Raises:
        ValueError: a damaged file.
    """
    results, order = [], [*ROWS, *CONTROLS, *VARIANTS]
    for file in sorted(folder.glob("*.json")):
        if file.name == TIMES:
            continue
        try:
            result = json.loads(file.read_text(encoding="utf-8"))
            results.append((order.index(result["row"]), int(result["seed"]), result))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file} is no result of drnn reproduce ({error!r}); remove it and run again") from error
    return [result for *_, result in sorted(results, key=lambda entry: entry[:2])]


def spread(values: list[float], show: Callable[[float], str]) -> str:
    """Mean, and standard deviation (n - 1) where there are two values or more."""
    text = show(mean(values))
    return f"{text} +- {show(stdev(values))}" if len(values) > 1 else text


def table1_markdown(folder: Path) -> str:
    """Table 1 from the result files of one folder."""
    times = json.loads((folder / TIMES).read_text(encoding="utf-8"))["rows"] if (folder / TIMES).is_file() else {}
    head = (
        "row", "paper error %", "error %", "of the average %", "n", "params M: paper", "live", "M MACs: paper",
        "mean +- between images", "most", "loops", "ms an image", "time / static",
    )  # fmt: skip
    lines = [head, ("---",) * len(head)]
    for row, runs in _grouped(read_results(folder)).items():
        paper, first, timed = PAPER.get(row), runs[0], times.get(row)
        lines.append((
            row, _shown(paper and paper.error, "{}"), _errors(runs), _averages(runs), str(len(runs)),
            _shown(paper and paper.params, "{}"), f"{first['params'] / 1e6:.2f}",
            _shown(paper and paper.macs and paper.macs * 1e3, "{:.0f}"),
            f"{mean(run['macs_mean'] for run in runs) / 1e6:.1f} +- {_between_images(first):.1f}",
            f"{first['max_macs'] / 1e6:.1f}", _loops(runs),
            f"{timed['ms']:.3f}" if timed else "-", f"{timed['ratio']:.2f}" if timed else "-",
        ))  # fmt: skip
    return _markdown(lines)


def ablation_markdown(folder: Path) -> str:
    """Table 3 in small from the result files of one folder."""
    head = ("variant", "error %", "of the average %", "training error %", "n", "loops", "M MACs", "rates of the gates")
    lines = [head, ("---",) * len(head)]
    for row, runs in _grouped(read_results(folder)).items():
        rates = ("-" if rate is None else f"{rate:.2f}" for rate in runs[0]["executed_rates"])
        training = [run["epochs"][-1]["train_error"] for run in runs]
        lines.append((
            row, _errors(runs), _averages(runs), spread(training, _percent), str(len(runs)), _loops(runs),
            f"{mean(run['macs_mean'] for run in runs) / 1e6:.1f}", " ".join(rates),
        ))  # fmt: skip
    return _markdown(lines)


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _grouped(results: list[dict]) -> dict[str, list[dict]]:
    groups: dict[str, list[dict]] = {}
    for result in results:
        groups.setdefault(result["row"], []).append(result)
    return groups


def _errors(runs: list[dict]) -> str:
    return spread([run["error"] for run in runs], _percent)


def _averages(runs: list[dict]) -> str:
    kept = [run["average"]["error"] for run in runs if run["average"]]
    return spread(kept, _percent) if kept else "-"


def _loops(runs: list[dict]) -> str:
    slots = runs[0]["max_loops"]
    return f"{mean(run['mean_loops'] for run in runs):.2f} of {slots}" if slots else "-"


def _between_images(run: dict) -> float:
    return run["macs_std"] / 1e6


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _markdown(lines: list[tuple]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
