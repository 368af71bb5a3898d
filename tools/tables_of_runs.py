"""Tables of `results`: experiments, analyses and the digits comparison, as Markdown."""

import csv
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from sources import ROOT, distinct, read, source, table

from drnn import compare
from drnn.analysis.curves import curves_of_study
from drnn.reproduce.plan import SCHEDULES
from drnn.reproduce.report import OUTCOME, ablation_markdown, outcomes, table1_markdown
from drnn.reproduce.result import read_results
from drnn.reproduce.times import times_of
from drnn.reproduce.trials import Trials, labels_in, trials_in
from drnn.training.recipe import tested_images

CIFAR10 = ROOT / "results" / "cifar10"


def digits() -> str:
    return _compared("results/digits/compare.json", "make demo && cp runs/compare.json results/digits/")


def deepest_pair() -> str:
    """The recursive network that began with the weights of a trained static one, beside that one."""
    path = "results/deepest_pair/compare.json"
    return _compared(path, f"drnn compare RECURSIVE STATIC --data_root data --json {path}, of the runs that it names")


def _compared(path: str, command: str) -> str:
    result = read(path, command)
    return compare.markdown(result) + source(path, result["environment"], result["runs"][0]["seed"])


def table1() -> str:
    """By the schedules as they are."""
    return "\n".join(_experiment(folder, table1_markdown) for folder in _schedules())


def table1_short() -> str:
    """What a newcomer asks of Table 1: errors, multiply-adds and time, a line a network and schedule."""
    rows: list[tuple] = []
    for folder in _schedules():
        results = read_results(folder)
        schedule = f"{folder.name}, {results[0]['recipe']['epochs']} epochs"
        rows += [(schedule, *row) for row in outcomes(results, times_of(folder, results))]
    return table(("recipe", *OUTCOME), rows)


def _schedules() -> list[Path]:
    """Those that have results, the paper's own first."""
    return [folder for name in SCHEDULES if (folder := CIFAR10 / name).is_dir()]


def table1_trials() -> str:
    """By schedules of another length, other pictures, or with options, of the same conditions side by side."""
    there = [trials for trials in trials_in(labels_in(CIFAR10)) if not _is_table1(trials)]
    return "\n".join(_trials(trials) for trials in there)


def _is_table1(trials: Trials) -> bool:
    return all(folder.name in SCHEDULES for folder in trials.folders)


def _trials(trials: Trials) -> str:
    origins = []
    for folder in trials.folders:
        here = [result for result in trials.results if result["label"] == folder.name]
        origins.append(f"* `{folder.relative_to(ROOT).as_posix()}/*.json`: {_origin(here)}. {_minutes(here)}.")
    lines = [f"`{trials.command}`: {_conditions(trials.results[0])}.", trials.markdown(), "\n".join(origins)]
    return "\n\n".join(line.rstrip("\n") for line in lines) + "\n"


def ablation() -> str:
    return "\n".join(_experiment(folder, ablation_markdown) for folder in _labels("ablation-*/*"))


def _labels(pattern: str) -> list[Path]:
    return sorted(path for path in CIFAR10.glob(pattern) if path.is_dir())


def _experiment(folder: Path, show: Callable[[Path], str]) -> str:
    """The table of a folder, its recipe in a line, and where each run was done."""
    results, place = read_results(folder), folder.relative_to(ROOT).as_posix()
    commands = distinct((result["environment"]["command"] for result in results), "`, `")
    lines = [
        f"**{folder.relative_to(CIFAR10).as_posix()}**: {_conditions(results[0])}.",
        show(folder),
        f"From `{place}/*.json`: `{commands}`, {_origin(results)}. {_minutes(results)}.\n",
    ]
    return "\n\n".join(line.rstrip("\n") for line in lines) + "\n"


def _conditions(result: dict) -> str:
    recipe = result["recipe"]
    return (
        f"{recipe['epochs']} epochs on {recipe['train_images'] or 50_000 - recipe['held_out']:,} images, batch "
        f"{recipe['batch_size']}, lr {recipe['lr']:g} ({recipe['schedule']}), cutout {recipe['cutout'] or 'none'}, "
        f"padding with {recipe.get('padding_mode', 'zeros')}, {recipe.get('precision', 'float32')}, "
        f"tested on {result['images']:,} {tested_images(recipe['held_out'])}"
    )


def _origin(results: Iterable[dict]) -> str:
    machines = [part for result in results for part in result["trained_on"]]
    where = distinct(
        (f"{part.get('gpu') or part['processor']}, {part['cores']} cores, torch {part['torch']}" for part in machines),
        "; ",
    )
    seeds = distinct(sorted({result["seed"] for result in results}))
    return f"seeds {seeds}, commits {distinct(part['commit'] for part in machines)}, {where}"


def _minutes(results: list[dict]) -> str:
    runs = (f"{_run(result, results)} {result['train_s'] / 60:.0f}" for result in results)
    return f"Minutes a run: {'; '.join(runs)}"


def _run(result: dict, results: list[dict]) -> str:
    """Its row, and its seed where the row has several."""
    seeds = [other["seed"] for other in results if other["row"] == result["row"]]
    return result["row"] if len(seeds) == 1 else f"{result['row']} (seed {result['seed']})"


def looked_at() -> str:
    return "\n".join(findings(path.parent) for path in sorted((ROOT / "results" / "analysis").glob("*/facts.json")))


def findings(folder: Path) -> str:
    """What ``drnn analyze`` found about one run: error by loops, classes, early and late, worse images."""
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    loops, (early, late) = facts["loops"], rows_of(folder / "early_and_late.csv")
    by_class = zip(facts["classes"], rows_of(folder / "by_class.csv"), strict=True)
    few, *_, many = sorted((row["mean"], name) for name, row in by_class)
    lines = [
        f"**{facts['run']}** ({facts['model']}, weights {facts['weights']}), {facts['images']:,} test images of "
        f"{facts['dataset']}, accuracy {facts['accuracy']:.2%}. Loops: mean {loops['mean']:.2f}, at most "
        f"{loops['most']}, standard deviation {loops['std']:.2f}, {loops['expected']:.2f} expected at the target rate; "
        f"fewest and most by class: {few[1]} ({few[0]:.2f}) and {many[1]} ({many[0]:.2f}). Images that leave early: "
        f"accuracy {early['accuracy']:.1%}, calibration error {early['ece']:.3f}; late: {late['accuracy']:.1%}, "
        f"{late['ece']:.3f}.\n",
        "| loops | images | error, 95 % interval |",
        "| --- | --- | --- |",
    ]
    for row in rows_of(folder / "error_by_loops.csv"):
        error = f"{row['error']:.1%} ({row['low']:.1%} to {row['high']:.1%})"
        lines.append(f"| {row['loops']:.0f} | {row['images']:,.0f} | {error} |")
    with np.load(folder / "execution_map.npz") as found:
        shares = "; ".join(" ".join(f"{share:.0%}" for share in block) for block in found["executed"])
    lines += ["", f"Share of the images that execute each loop, block by block: {shares}."]
    lines += ["", "| images made worse, strength | loops | error |", "| --- | --- | --- |"]
    for path in sorted(folder.glob("robustness_*.csv")):
        kind, worse = path.stem.removeprefix("robustness_"), rows_of(path)
        cells = (" / ".join(f"{row[key]:{form}}" for row in worse) for key, form in
                 (("strength", "g"), ("loops", ".2f"), ("error", ".1%")))  # fmt: skip
        lines.append(f"| {kind}: {' | '.join(cells)} |")
    for pair in facts.get("agreement", []):
        interval = f"{pair['correlation']:.2f} ({pair['low']:.2f} to {pair['high']:.2f})"
        lines += ["", f"Loops of {pair['first']} and {pair['second']}, image by image: rank correlation {interval}."]
    place = f"{folder.relative_to(ROOT).as_posix()}/"
    return "\n".join(lines) + "\n" + source(place, facts["analysed"], "of the run")


def rows_of(path: Path) -> list[dict[str, float]]:
    """The rows of a table of numbers."""
    with path.open(encoding="utf-8", newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def gradients() -> str:
    return "\n".join(gradient_study(path) for path in sorted((ROOT / "results" / "gradients").glob("*.json")))


def gradient_study(path: Path) -> str:
    """One study: growth of gradients over the loops, and errors at its end."""
    result = json.loads(path.read_text(encoding="utf-8"))
    changes = ", ".join(f"{key} {value}" for key, value in result["overrides"].items()) or "none"
    kinds = ("running", "batch", "recalibrated", "own", "mixed")
    lines = [
        f"**{result['recipe']['model']}** (fields changed: {changes}), {result['train_images']:,} images of "
        f"{result['dataset']}, {result['recipe']['epochs']} epochs, batch {result['recipe']['batch_size']}, lr "
        f"{result['recipe']['lr']:g}. First reading / last reading (steps); errors after the last epoch; epochs whose "
        "evaluation came apart from training.\n",
        "| | steps | gradient at the first input over that at the last | largest summed gradient of a block | gamma / "
        f"sigma, mean | training loss | training error | {' | '.join(f'test: {kind}' for kind in kinds)} | apart |",
        "|" + " --- |" * (8 + len(kinds)),
    ]
    apart = {curve.name: curve.apart for curve in curves_of_study(result)}
    for variant, found in result["variants"].items():
        ends = found["readings"]
        growth, summed, gain = (
            " / ".join(f"{of(end):.3g}" for end in ends)
            for of in (
                lambda end: end["input_gradient"][0] / end["input_gradient"][-1],
                lambda end: max(end["summed_gradient"]),
                lambda end: sum(end["gain"]) / len(end["gain"]),
            )
        )
        last = found["epochs"][-1]
        marked = ", ".join(f"{epoch:g}" for epoch in apart[variant]) or "-"
        errors = (f"{last['errors'][kind]:.1%}" if kind in last["errors"] else "-" for kind in kinds)
        lines.append(
            f"| {variant} | {' / '.join(str(end['step']) for end in ends)} | {growth} | {summed} | {gain} | "
            f"{last['train_loss']:.3f} | {last['train_error']:.1%} | {' | '.join(errors)} | {marked} |"
        )
    place = path.relative_to(ROOT).as_posix()
    return "\n".join(lines) + "\n" + source(place, result["environment"], result["recipe"]["seed"])
