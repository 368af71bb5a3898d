"""How well a budget asked for is met on test images, and what it does to accuracy.

python benchmarks/budget.py --data_root DIR [--runs FOLDER ...]

The runs are the networks in checkpoints/ that have gates, unless others are given.
"""

import argparse
from pathlib import Path

from drnn.budgets import apply_budget
from drnn.budgets.calibrate import calibrate
from drnn.budgets.dial import Scope
from drnn.budgets.request import Request
from drnn.provenance import environment
from drnn.storage import write_json
from drnn.training import evaluate
from drnn.training.checkpoint import load_run
from drnn.training.run_folder import read_recipe

RESULT = Path(__file__).parent / "results" / "budget.json"
SHIPPED = Path(__file__).parents[1] / "checkpoints"
SCOPES: tuple[Scope, ...] = ("global", "per_gate")


def met(folder: Path, share: float, scope: Scope, data_root: str | None) -> dict:
    """Calibrate on training images, evaluate on the test."""
    budget = calibrate(folder, Request(share, "share"), scope, data_root=data_root)
    run = load_run(folder, data_root)
    apply_budget(run.model, budget.thresholds)
    result = evaluate(run.model, run.dataset.test_images, run.dataset.test_labels, run.normalize)
    spent, asked = result.macs.double(), share * budget.found["static_macs"]
    return {
        "network": folder.name,
        "share": share,
        "scope": scope,
        "macs_asked": asked,
        "macs_training": budget.found["macs_mean"],
        "macs_test": float(spent.mean()),
        "missed": float(spent.mean()) / asked - 1,
        "standard_error": float(spent.std()) / len(spent) ** 0.5 / asked,
        "acc1": result.acc1,
        "images": len(spent),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", nargs="+", type=Path, help="folders of finished runs with gates")
    parser.add_argument("--data_root", default=None)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.6, 0.7, 0.8, 0.9])
    options = parser.parse_args()
    runs = options.runs or sorted(SHIPPED.glob("dr_*"))
    seeds = sorted({read_recipe(folder).seed for folder in runs})
    result = {"environment": environment("cpu"), "seed": ", ".join(map(str, seeds)), "rows": []}
    for folder in runs:
        for share in options.shares:
            for scope in SCOPES:
                row = met(folder, share, scope, options.data_root)
                result["rows"].append(row)
                missed = f"missed by {row['missed']:+.2%}, accuracy {row['acc1']:.2%}"
                print(f"{row['network']} {share} {scope}: {missed}", flush=True)
    write_json(RESULT, result)


if __name__ == "__main__":
    main()
