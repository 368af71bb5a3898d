"""``drnn eval RUN``."""

import json
from pathlib import Path

from jsonargparse import ArgumentParser

from drnn.budgets.budget import use_budget
from drnn.training import evaluate_source
from drnn.training.checkpoint import load_run
from drnn.training.recipe import tested_images

DESCRIPTION = (
    "Evaluate a run on its data set's test images, or on the training images that its recipe holds out for that."
)


def run(argv: list[str]) -> None:
    """Evaluate a run on the images it is tested on."""
    parser = ArgumentParser(prog="drnn eval", description=DESCRIPTION)
    parser.add_argument("run", type=str, help="the folder of a finished run")
    parser.add_argument("--data_root", type=str, default=None, help="where the data set is now, if it has moved")
    parser.add_argument(
        "--average", action="store_true", help="the moving average of the weights, of a run that has one"
    )
    parser.add_argument("--budget", action="store_true", help="with the thresholds of budget.json: see drnn calibrate")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    parser.add_argument("--batch_size", type=int, default=500, help="images at a time; fewer need less memory")
    parser.add_argument("--json", action="store_true", help="print every number as JSON")
    options = parser.parse_args(argv)
    if options.average and options.budget:
        raise ValueError("--average and --budget received; a budget is found for the last weights, so give one of them")
    if options.batch_size < 1:
        raise ValueError(f"--batch_size {options.batch_size} received; it is 1 or more")
    model, recipe, dataset = load_run(Path(options.run), options.data_root, options.average, options.device)
    if options.budget:
        use_budget(model, options.run)
    result = evaluate_source(model, dataset, batch_size=options.batch_size).summary()
    if options.json:
        which = {"average": options.average, "budget": options.budget, "tested_on": tested_images(recipe.held_out)}
        print(json.dumps({"run": options.run, "model": recipe.model, **which, **result}, indent=1))
        return
    print(
        f"{recipe.model}: test accuracy {result['acc1']:.2%} on {result['images']} {tested_images(recipe.held_out)}, "
        f"{result['mean_loops']:.2f} of {result['max_loops']} loops and {result['macs_mean'] / 1e6:.2f} M "
        f"multiply-adds an image ({result['macs_min'] / 1e6:.2f} to {result['macs_max'] / 1e6:.2f} M)"
    )
