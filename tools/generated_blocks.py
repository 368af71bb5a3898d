"""Blocks of README and docs that are made from result files: ``python tools/generated_blocks.py --check | --write``.

A block stands between ``<!-- begin generated: NAME -->`` and ``<!-- end generated: NAME -->``.
"""

import argparse
import csv
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from drnn import compare, tables
from drnn.bench import report
from drnn.reproduce.report import ablation_markdown, read_results, table1_markdown

ROOT = Path(__file__).parent.parent
FILES = (
    "README.md",
    *(f"docs/{name}.md" for name in ("results", "tables", "costs", "export", "inference", "analysis")),
)
BLOCK = re.compile(r"(<!-- begin generated: (\w+) -->\n).*?(<!-- end generated: \2 -->)", re.DOTALL)


def read(path: str, command: str) -> dict:
    file = ROOT / path
    if not file.is_file():
        sys.exit(f"{path} is missing; make it with: {command}")
    return json.loads(file.read_text(encoding="utf-8"))


def source(path: str, environment: dict, seed: object) -> str:
    keys = ("commit", "date", "processor", "cores", "threads", "python", "torch")
    facts = ", ".join(f"{key} {environment[key]}" for key in keys)
    return f"\nFrom `{path}`: `{environment['command']}`, seed {seed}, {facts}.\n"


def digits() -> str:
    path = "results/digits/compare.json"
    result = read(path, "make demo && cp runs/compare.json results/digits/")
    return compare.markdown(result) + source(path, result["environment"], result["runs"][0]["seed"])


def input_pipeline() -> str:
    path = "benchmarks/results/input_pipeline.json"
    result = read(path, "python benchmarks/input_pipeline.py --data_root DIR")
    lines = ["| | images per second | ratio |", "| --- | --- | --- |"]
    part = result["input"]
    rates = "; ".join(f"{side} {rate:,.0f}" for side, rate in zip(part["sides"], part["images_per_s"], strict=True))
    lines.append(f"| batch {part['batch_size']}, {part['rounds']} pairs | {rates} | {part['ratio']:.2f} |")
    return "\n".join(lines) + "\n" + source(path, result["environment"], result["seed"])


def train_step() -> str:
    path = "benchmarks/results/train_step_cpu.json"
    result = read(path, "python benchmarks/train_step.py --data_root DIR")
    lines = ["| | against | images per second | time ratio, paired |", "| --- | --- | --- | --- |"]
    for part in (entry for kind in ("plain_loop", "static", "norms") for entry in result[kind].values()):
        rates = " / ".join(f"{rate:,.0f}" for rate in part["images_per_s"])
        lines.append(f"| {part['sides'][0]} | {part['sides'][1]} | {rates} | {part['time_ratio']:.3f} |")
    return "\n".join(lines) + "\n" + source(path, result["environment"], result["seed"])


def table1_starts() -> str:
    path = "benchmarks/results/table1_starts.json"
    result = read(path, "python benchmarks/table1_starts.py --data_root DIR")
    lines = ["| row | training loss | training error | held-out error | loops |", "| --- | --- | --- | --- | --- |"]
    for row in result["rows"]:
        loss, loops = (" ".join(f"{value:.2f}" for value in row[key]) for key in ("train_loss", "mean_loops"))
        train, test = (" ".join(f"{value:.1%}" for value in row[key]) for key in ("train_error", "test_error"))
        lines.append(f"| {row['row']} | {loss} | {train} | {test} | {loops} |")
    return "\n".join(lines) + "\n" + source(path, result["environment"], result["seed"])


def export() -> str:
    lines, sources = [], []
    for threads in (1, 2):
        path = f"benchmarks/results/export_{threads}.json"
        result = read(path, f"drnn bench export --threads {threads} --json {path}")
        ours, static = result["networks"]
        for part, closed in zip(result["efficiency"], result["closed"], strict=True):
            numbers = " | ".join(f"{part[name]:.3f}" for name in ("macs_ratio", "time_ratio", "efficiency"))
            cells = f"{part['batch_size']} | {part['mean_loops']:.2f} | {numbers} | {closed['time_ratio']:.3f}"
            lines.append(f"| {result['session_threads']} | {cells} |")
        sources.append(source(path, result["environment"], result["seed"]))
    work = f"multiply-adds, {ours} / {static}"
    head = f"| threads | batch | loops | {work} | time | efficiency | gates closed / fixed part |"
    return "\n".join([head, "|" + " --- |" * 7, *lines]) + "\n" + "".join(sources)


def export_sizes() -> str:
    path = "benchmarks/results/export_sizes.json"
    result = read(path, "python benchmarks/export_sizes.py")
    kinds = ("safetensors", "branches, once", "branches, folded", "loop, once")
    lines = ["| MB | safetensors | ONNX, once | folded | loop |", "| --- | --- | --- | --- | --- |"]
    for row in result["files"]:
        cells = (f"{row[kind] / 1e6:.2f}" if kind in row else "-" for kind in kinds)
        lines.append(f"| {row['name']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n" + source(path, result["environment"], result["seed"])


def inference() -> str:
    path = "benchmarks/results/inference.json"
    entries = read(path, f"drnn bench inference --json {path}")["entries"]
    commands = dict.fromkeys(entry["environment"]["command"] for entry in entries)
    last = {**entries[-1]["environment"], "command": "`, `".join(commands)}
    return report.markdown(entries) + source(path, {**last, "threads": "as above"}, entries[-1]["seed"])


def table1() -> str:
    return "\n".join(_experiment(folder, table1_markdown) for folder in _labels("*", without="ablation-*"))


def ablation() -> str:
    return "\n".join(_experiment(folder, ablation_markdown) for folder in _labels("ablation-*/*"))


def _labels(pattern: str, without: str = "") -> list[Path]:
    folders = sorted(path for path in (ROOT / "results" / "cifar10").glob(pattern) if path.is_dir())
    return [path for path in folders if not (without and path.match(without))]


def _experiment(folder: Path, show: Callable[[Path], str]) -> str:
    """The table of a folder, its recipe in a line, and where each run was done."""
    results = read_results(folder)
    recipe, place = results[0]["recipe"], folder.relative_to(ROOT).as_posix()
    images = f"{recipe['train_images'] or 50_000 - recipe['held_out']:,}"
    tested = f"{results[0]['images']:,} {'held-out training' if recipe['held_out'] else 'test'} images"
    hours = ", ".join(f"{result['row']} {result['train_s'] / 60:.0f}" for result in results)
    seeds = ", ".join(dict.fromkeys(str(result["seed"]) for result in results))
    begun = results[0]["trained_on"][0]
    commits = ", ".join(dict.fromkeys(part["commit"] for result in results for part in result["trained_on"]))
    lines = [
        f"**{results[0]['label']}**: {recipe['epochs']} epochs on {images} images, batch {recipe['batch_size']}, "
        f"lr {recipe['lr']:g} ({recipe['schedule']}), cutout {recipe['cutout'] or 'none'}, tested on {tested}.",
        show(folder),
        f"From `{place}/*.json`: `{results[0]['environment']['command']}`, seeds {seeds}, "
        f"commits {commits}, {begun['processor']}, {begun['cores']} cores, torch {begun['torch']}. "
        f"Minutes a run, several side by side: {hours}.\n",
    ]
    return "\n\n".join(line.rstrip("\n") for line in lines) + "\n"


def budget() -> str:
    path = "benchmarks/results/budget.json"
    result = read(path, "python benchmarks/budget.py --run runs/digits")
    lines = [
        "| share asked for | thresholds | missed by, training images | test images | one standard error | accuracy |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in result["rows"]:
        on_training = row["macs_training"] / row["macs_asked"] - 1
        cells = (f"{on_training:+.2%}", f"{row['missed']:+.2%}", f"{row['standard_error']:.2%}", f"{row['acc1']:.2%}")
        lines.append(f"| {row['share']} | {row['scope']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n" + source(path, result["environment"], result["seed"])


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
    lines += ["", "| images made worse, strength | loops | error |", "| --- | --- | --- |"]
    for path in sorted(folder.glob("robustness_*.csv")):
        kind, worse = path.stem.removeprefix("robustness_"), rows_of(path)
        cells = (" / ".join(f"{row[key]:{form}}" for row in worse) for key, form in
                 (("strength", "g"), ("loops", ".2f"), ("error", ".1%")))  # fmt: skip
        lines.append(f"| {kind}: {' | '.join(cells)} |")
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
        f"{result['recipe']['lr']:g}. First reading / last reading (steps); errors after the last epoch.\n",
        "| | steps | gradient at the first input over that at the last | largest summed gradient of a block | gamma / "
        f"sigma, mean | training loss | training error | {' | '.join(f'test: {kind}' for kind in kinds)} |",
        "|" + " --- |" * (7 + len(kinds)),
    ]
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
        errors = (f"{last['errors'][kind]:.1%}" if kind in last["errors"] else "-" for kind in kinds)
        lines.append(
            f"| {variant} | {' / '.join(str(end['step']) for end in ends)} | {growth} | {summed} | {gain} | "
            f"{last['train_loss']:.3f} | {last['train_error']:.1%} | {' | '.join(errors)} |"
        )
    place = path.relative_to(ROOT).as_posix()
    return "\n".join(lines) + "\n" + source(place, result["environment"], result["recipe"]["seed"])


MAKERS: dict[str, Callable[[], str]] = {
    "budget": budget,
    "digits": digits,
    "export": export,
    "export_sizes": export_sizes,
    "gradients": gradients,
    "inference": inference,
    "ablation": ablation,
    "analysis": looked_at,
    "input_pipeline": input_pipeline,
    "table1": table1,
    "table1_starts": table1_starts,
    "tables": tables.markdown,
    "train_step": train_step,
}


def renewed(text: str) -> str:
    return BLOCK.sub(lambda match: f"{match[1]}{MAKERS[match[2]]()}{match[3]}", text)


def stale() -> list[str]:
    return [name for name in FILES if renewed((ROOT / name).read_text("utf-8")) != (ROOT / name).read_text("utf-8")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="rewrite the blocks instead of checking them")
    if parser.parse_args().write:
        for name in FILES:
            (ROOT / name).write_text(renewed((ROOT / name).read_text("utf-8")), "utf-8")
    elif names := stale():
        sys.exit(f"out of date: {', '.join(names)}; run python tools/generated_blocks.py --write")


if __name__ == "__main__":
    main()
