"""Recipes by name: ``drnn train NAME``."""

from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path

from drnn.training.recipe import Recipe
from drnn.training.recipe_fields import read_fields, recipe_from_dict

PAPER_CIFAR10 = Recipe(
    model="", dataset="cifar10", epochs=350, batch_size=256, lr=0.1, schedule="step", milestones=(150, 250),
    momentum=0.9, weight_decay=5e-4, padding=4, flip=True,
)  # fmt: skip
MODERN_CIFAR10 = replace(
    PAPER_CIFAR10, epochs=200, batch_size=128, schedule="cosine", milestones=(), warmup_epochs=5, nesterov=True,
    decay_norms=False, label_smoothing=0.1, cutout=16, ema_decay=0.999, rate_weight=1.0, rate_warmup_epochs=5,
)  # fmt: skip
SHORT_CIFAR10 = replace(MODERN_CIFAR10, epochs=20, warmup_epochs=2, rate_warmup_epochs=2)
PAPER_IMAGENET = Recipe(
    model="", dataset="imagefolder", epochs=100, batch_size=256, lr=0.1, schedule="step", milestones=(30, 60, 90),
    momentum=0.9, weight_decay=1e-4, flip=True, distortion=True, rate_weight=1.0, workers=8,
)  # fmt: skip
PAPER_MOBILENET = replace(PAPER_IMAGENET, epochs=400, lr=0.01, milestones=(200, 300))
PAPER_STAR = replace(PAPER_IMAGENET, epochs=180, lr=0.01, weight_decay=5e-4, milestones=(100, 130, 160))
CIFAR10_MODELS = {
    "sd110": "sd_resnet110_cifar",
    "preresnet110": "preresnet110_cifar",
    "aig110": "aig_resnet110_cifar",
    "rcnn160": "rcnn160_cifar",
    **{f"resnet{depth}": f"resnet{depth}_cifar" for depth in (16, 20, 56, 110)},
    **{f"dr{depth}": f"dr_resnet{depth}_cifar" for depth in (16, 32, 40, 54, 58, 66, 74)},
}
IMAGENET_MODELS = {
    **{f"resnet{depth}": f"resnet{depth}" for depth in (50, 101)},
    **{f"sd{depth}": f"sd_resnet{depth}" for depth in (50, 101)},
    **{f"aig{depth}": f"aig_resnet{depth}" for depth in (50, 101)},
    **{f"dr{depth}": f"dr_resnet{depth}" for depth in (35, 44, 47, 53, 65)},
    "r53-naive": "r_resnet53_naive",
    "r53-lvbn": "r_resnet53_lvbn",
    "dr53-lvbn": "dr_resnet53_lvbn",
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


def named(base: Recipe, prefix: str, models: dict[str, str], suffix: str = "") -> dict[str, Callable[[], Recipe]]:
    """A recipe a network, ``PREFIX-KEYSUFFIX``: ``base`` with that network."""
    return {
        f"{prefix}-{key}{suffix}": partial(replace, base, name=f"{prefix}-{key}{suffix}", model=model)
        for key, model in models.items()
    }


RECIPES: dict[str, Callable[[], Recipe]] = {
    "digits": digits,
    "digits-static": digits_static,
    # Table 1, the paper's schedule: 350 epochs
    **named(PAPER_CIFAR10, "cifar10", CIFAR10_MODELS),
    # the same networks, a recipe of today, the same for static and recursive ones: 200 epochs
    **named(MODERN_CIFAR10, "cifar10", CIFAR10_MODELS, "-modern"),
    # a tenth of that, for two CPU cores: 20 epochs
    **named(SHORT_CIFAR10, "cifar10", CIFAR10_MODELS, "-short"),
    # Tables 2 and 3: 100 epochs on images in folders, 400 for MobileNetV2; R-ResNet 53* for 180
    **named(PAPER_IMAGENET, "imagenet", IMAGENET_MODELS),
    **named(PAPER_MOBILENET, "imagenet", {"mobilenetv2": "mobilenetv2", "dr-mobilenetv2": "dr_mobilenetv2"}),
    **named(PAPER_STAR, "imagenet", {"r53-star": "r_resnet53_lvbn"}),
}


def find_recipe(name: str) -> Recipe:
    """A recipe by name, or from a YAML file, which may build on another one with ``base: NAME`` or ``base: FILE``.

    A base's file is looked for from the folder of the file that names it.

    Raises:
        ValueError: no such recipe, with the nearest names; a file that is not a recipe, or builds on itself.
        FileNotFoundError: no such file.
    """
    return _find(name, Path(), ())


def changed_fields(recipe: Recipe) -> dict:
    """What a recipe has otherwise than the one of its name; nothing where there is none of that name.

    Example:
        >>> changed_fields(replace(find_recipe("digits"), lr=0.2, seed=1))
        {'lr': 0.2, 'seed': 1}
    """
    if recipe.name not in RECIPES:
        return {}
    base = RECIPES[recipe.name]().to_dict()
    return {key: value for key, value in recipe.to_dict().items() if value != base[key]}


def _find(name: str, place: Path, above: tuple[Path, ...]) -> Recipe:
    """A recipe by name, or the one in a file below ``place`` that those ``above`` build on."""
    a_file = name not in RECIPES and Path(name).suffix in (".yaml", ".yml")
    return _read(place / name, above) if a_file else _named(name)


def _named(name: str) -> Recipe:
    if name in RECIPES:
        return RECIPES[name]()
    near = get_close_matches(name, RECIPES, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else "drnn recipes lists them"
    raise ValueError(f"there is no recipe {name!r}; {hint}")


def _read(path: Path, above: tuple[Path, ...]) -> Recipe:
    if not path.is_file():
        raise FileNotFoundError(f"there is no recipe file {path}")
    above = (*above, path.resolve())
    if above[-1] in above[:-1]:
        raise ValueError(f"{path} builds on itself; name another base")
    values = read_fields(path)
    base = values.pop("base", None)
    try:
        started = _find(str(base), path.parent, above) if base else None
        return recipe_from_dict({"name": path.stem, **values}, started)
    except ValueError as error:
        raise ValueError(f"{path} is no recipe: {error}") from error
