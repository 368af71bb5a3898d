"""Blocks of README and docs that are made from result files: ``python tools/generated_blocks.py [--write]``.

A block stands between ``<!-- begin generated: NAME -->`` and ``<!-- end generated: NAME -->``.
"""

import argparse
import re
import sys
from collections.abc import Callable

import tables_of_benchmarks
import tables_of_runs
from sources import ROOT

from drnn import tables

FILES = (
    "README.md",
    *(f"docs/{name}.md" for name in ("results", "tables", "costs", "export", "inference", "benchmarks", "analysis")),
)
BLOCK = re.compile(r"(<!-- begin generated: (\w+) -->\n).*?(<!-- end generated: \2 -->)", re.DOTALL)


MAKERS: dict[str, Callable[[], str]] = {
    "budget": tables_of_benchmarks.budget,
    "deepest_pair": tables_of_runs.deepest_pair,
    "digits": tables_of_runs.digits,
    "export": tables_of_benchmarks.export,
    "export_quantised": tables_of_benchmarks.export_quantised,
    "export_sizes": tables_of_benchmarks.export_sizes,
    "gradients": tables_of_runs.gradients,
    "inference": tables_of_benchmarks.inference,
    "inference_gpu": tables_of_benchmarks.inference_gpu,
    "ablation": tables_of_runs.ablation,
    "analysis": tables_of_runs.looked_at,
    "kept_memory": tables_of_benchmarks.kept_memory,
    "input_pipeline": tables_of_benchmarks.input_pipeline,
    "table1": tables_of_runs.table1,
    "table1_short": tables_of_runs.table1_short,
    "table1_trials": tables_of_runs.table1_trials,
    "table1_starts": tables_of_benchmarks.table1_starts,
    "tables": tables.markdown,
    "train_step": tables_of_benchmarks.train_step,
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
