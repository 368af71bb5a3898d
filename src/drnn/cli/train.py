"""``drnn train RECIPE [--field value ...]``."""

import os
from pathlib import Path

from jsonargparse import ArgumentParser

from drnn.provenance import commit
from drnn.training import find_recipe, train
from drnn.training.recipe import Recipe, tested_images
from drnn.training.recipe_fields import recipe_from_dict, recipe_text


def parser(recipe: Recipe) -> ArgumentParser:
    """All fields of a recipe as options, with those of ``recipe`` for defaults."""
    made = ArgumentParser(
        prog="drnn train RECIPE",
        description="Train by a recipe (drnn recipes lists them), or by a YAML file of the fields below, "
        "which may start from a named recipe with a line 'base: NAME'. The run is kept in a folder: "
        "recipe.yaml, environment.json, data.json, metrics.jsonl, checkpoints, model.safetensors, summary.json. "
        "The same command again goes on where a run stopped. Under torchrun, processes share each batch.",
    )
    made.add_argument(
        "--out", type=str, default=None, help="the run folder; runs/NAME by default, of the recipe's name"
    )
    made.add_argument("--overwrite", action="store_true", help="replace a run that is already there")
    made.add_argument("--resume", action="store_true", help="refuse to start from nothing")
    made.add_argument("--checkpoint_minutes", type=float, default=10.0, help="longest time between checkpoints")
    made.add_argument("--tensorboard", action="store_true", help="also write TensorBoard events (extra: log)")
    made.add_argument("--quiet", action="store_true", help="no progress bar")
    made.add_argument("--print_recipe", action="store_true", help="print the resolved recipe as YAML and stop")
    made.add_class_arguments(Recipe)
    made.set_defaults(recipe.to_dict())
    return made


def run(argv: list[str]) -> None:
    """Train."""
    named = argv[:1] if argv and not argv[0].startswith("-") else []
    if not named and not {"-h", "--help"} & set(argv):
        raise ValueError("name a recipe first: digits, another of drnn recipes, or a YAML file")
    recipe = find_recipe(named[0]) if named else Recipe()
    options = parser(recipe).parse_args(argv[len(named) :]).as_dict()
    names = ("out", "overwrite", "resume", "checkpoint_minutes", "tensorboard", "quiet", "print_recipe")
    out, overwrite, resume, minutes, tensorboard, quiet, show = (options.pop(name) for name in names)
    recipe = recipe_from_dict(options, recipe)
    if show:
        print(recipe_text(recipe.to_dict()), end="")
        return
    out = out or f"runs/{recipe.name}"
    commit()  # that of the code as it is now, not as it will be at the end
    summary = train(recipe, Path(out), overwrite, not quiet, resume, minutes, tensorboard)
    if os.environ.get("RANK", "0") == "0":
        print(describe(summary, out))


def describe(summary: dict, out: str) -> str:
    """A finished run in a sentence."""
    average = summary["ema"]
    averaged = "" if average is None else f" (average of the weights: {average['acc1']:.2%})"
    return (
        f"{summary['recipe']['model']}: test accuracy {summary['acc1']:.2%}"
        f"{averaged} "
        f"on {summary['images']} {tested_images(summary['recipe']['held_out'])}, "
        f"{summary['mean_loops']:.2f} of {summary['max_loops']} loops and {summary['macs_mean'] / 1e6:.2f} M "
        f"multiply-adds an image (at most {summary['max_macs'] / 1e6:.2f} M), {summary['params']:,} parameters; "
        f"trained in {summary['train_s']:.0f} s. Kept in {out}"
    )
