"""``drnn recipes``."""

from jsonargparse import ArgumentParser

from drnn.training import RECIPES


def run(argv: list[str]) -> None:
    """List recipes."""
    ArgumentParser(
        prog="drnn recipes", description="List the recipes; drnn train RECIPE --print_recipe shows one in full."
    ).parse_args(argv)
    for name, make in RECIPES.items():
        recipe = make()
        print(f"{name:27} {recipe.model:20} {recipe.dataset}, {recipe.epochs} epochs, seed {recipe.seed}")
