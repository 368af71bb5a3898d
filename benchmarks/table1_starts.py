"""Does every network of Table 1 train? Two epochs of the paper's recipe on 5,000 images, naive recursion beside it.

python benchmarks/table1_starts.py [--data_root DIR] [--runs DIR]     goes on where it was stopped
"""

import argparse
from dataclasses import replace
from pathlib import Path

from drnn.costs import count_costs
from drnn.models import create_model
from drnn.provenance import environment
from drnn.storage import write_json
from drnn.training import Recipe, find_recipe, train
from drnn.training.recipes import CIFAR10_MODELS
from drnn.training.run_folder import read_metrics

RESULT = Path(__file__).parent / "results" / "table1_starts.json"
NAIVE = "dr32"  # its blocks loop four times


def recipes(data_root: str, threads: int) -> dict[str, Recipe]:
    """Each network of Table 1, and recursion without gates: one norm for all loops, and one a loop. Cheapest first."""
    short = {"epochs": 2, "train_images": 5000, "held_out": 500, "data_root": data_root, "threads": threads}
    made = {name: replace(find_recipe(f"cifar10-{name}"), **short) for name in CIFAR10_MODELS}
    for norm in ("shared", "lvbn"):
        name = f"{NAIVE}-open-{norm}"
        made[name] = replace(made[NAIVE], name=name, norm=norm, gate="open")
    return dict(sorted(made.items(), key=lambda item: count_costs(create_model(item[1].model)).max_macs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_root", default="data", help="folder of CIFAR-10")
    parser.add_argument("--runs", default="runs/table1_starts", help="where the runs are kept")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    rows = []
    for key, recipe in recipes(options.data_root, options.threads).items():
        folder = Path(options.runs) / recipe.name
        state = "trained"
        try:
            train(recipe, folder, checkpoint_minutes=2)
        except FloatingPointError as error:
            state = str(error)
        metrics = read_metrics(folder)
        columns = ("train_loss", "train_error", "test_error", "mean_loops", "test_loss")
        row = {"row": key, "model": recipe.model, "norm": recipe.norm, "gate": recipe.gate, "state": state}
        rows.append({**row, **{column: [line[column] for line in metrics] for column in columns}})
        print(rows[-1], flush=True)
        write_json(RESULT, {"environment": environment("cpu"), "seed": recipe.seed, "rows": rows})


if __name__ == "__main__":
    main()
