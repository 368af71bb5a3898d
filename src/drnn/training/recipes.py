"""Recipes by name: ``drnn train NAME``."""

from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path

import yaml

from drnn.training.recipe import Recipe, recipe_from_dict

PAPER_CIFAR10 = Recipe(
    model="", dataset="cifar10", epochs=350, batch_size=256, lr=0.1, schedule="step", milestones=(150, 250),
    momentum=0.9, weight_decay=5e-4, padding=4, flip=True,
)  # fmt: skip
CIFAR10_MODELS = {
    "cifar10-sd110": "sd_resnet110_cifar",
    "cifar10-preresnet110": "preresnet110_cifar",
    "cifar10-aig110": "aig_resnet110_cifar",
    "cifar10-rcnn160": "rcnn160_cifar",
    **{f"cifar10-resnet{depth}": f"resnet{depth}_cifar" for depth in (20, 56, 110)},
    **{f"cifar10-dr{depth}": f"dr_resnet{depth}_cifar" for depth in (16, 32, 40, 54, 58, 66, 74)},
}


def digits() -> Recipe:
    """The default job: a small DR-ResNet on real handwritten digits, about a minute on 2 CPU cores."""
    return Recipe(
        name="digits",
        model="dr_resnet_digits",
        epochs=36,
        lr=0.05,
        nesterov=True,
        warmup_epochs=3,
        label_smoothing=0.1,
        target_rate=0.6,
        rate_weight=1.0,
    )


def digits_static() -> Recipe:
    """Its static counterpart: the same maximum of multiply-adds, the same recipe, the same seed."""
    return replace(digits(), name="digits-static", model="resnet_digits", target_rate=None)


def paper_cifar10(name: str) -> Recipe:
    """A row of Table 1 with the paper's own schedule: 350 epochs, minutes each on a CPU."""
    return replace(PAPER_CIFAR10, name=name, model=CIFAR10_MODELS[name])


RECIPES = {
    "digits": digits,
    "digits-static": digits_static,
    **{name: partial(paper_cifar10, name) for name in CIFAR10_MODELS},
}


def find_recipe(name: str) -> Recipe:
    """A recipe by name, or from a YAML file, which may build on a named one with ``base: NAME``.

    Raises:
        ValueError: no such recipe, with the nearest names; or a file that is not a recipe.
        FileNotFoundError: no such file.
    """
    if name in RECIPES:
        return RECIPES[name]()
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        near = get_close_matches(name, RECIPES, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"choose one of {', '.join(RECIPES)}"
        raise ValueError(f"there is no recipe {name!r}; {hint}")
    return _read(path)


def _read(path: Path) -> Recipe:
    if not path.is_file():
        raise FileNotFoundError(f"there is no recipe file {path}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds a {type(values).__name__}; a recipe file holds lines of 'field: value'")
    base = values.pop("base", None)
    return recipe_from_dict({"name": path.stem, **values}, find_recipe(base) if base else None)
