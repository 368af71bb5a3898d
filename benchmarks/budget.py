"""How well a budget asked for is met on test images, and what it does to accuracy.

python benchmarks/budget.py --run runs/digits
"""

import argparse
from pathlib import Path

from drnn.data import Normalize
from drnn.inference import apply_budget
from drnn.inference.calibrate import calibrate
from drnn.inference.dial import Scope
from drnn.inference.request import Request
from drnn.provenance import environment
from drnn.storage import write_json
from drnn.training import evaluate
from drnn.training.checkpoint import load_run

RESULT = Path(__file__).parent / "results" / "budget.json"
SCOPES: tuple[Scope, ...] = ("global", "per_gate")


def met(folder: Path, share: float, scope: Scope, data_root: str | None) -> dict:
    """Calibrate on training images, evaluate on the test."""
    budget = calibrate(folder, Request(share, "share"), scope, data_root=data_root)
    model, _, data = load_run(folder, data_root)
    apply_budget(model, budget.thresholds)
    result = evaluate(model, data.test_images, data.test_labels, Normalize(data.mean, data.std))
    spent, asked = result.macs.double(), share * budget.found["static_macs"]
    return {
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
    parser.add_argument("--run", default="runs/digits", help="the folder of a finished run with gates")
    parser.add_argument("--data_root", default=None)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.4, 0.6, 0.8])
    options = parser.parse_args()
    folder = Path(options.run)
    model, recipe, _ = load_run(folder, options.data_root)
    rows = [met(folder, share, scope, options.data_root) for share in options.shares for scope in SCOPES]
    write_json(RESULT, {"environment": environment(), "seed": recipe.seed, "model": model.name, "rows": rows})
    for row in rows:
        print(f"{row['share']} {row['scope']}: missed by {row['missed']:+.2%}, accuracy {row['acc1']:.2%}")


if __name__ == "__main__":
    main()
