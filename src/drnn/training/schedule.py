"""Learning rates as pure functions of progress, which is counted in epochs and may be a fraction."""

from dataclasses import replace
from math import cos, pi

from drnn.training.recipe import Recipe


def step_lr(epoch: float, lr: float, milestones: tuple[int, ...]) -> float:
    """``lr``, a tenth of it from the first milestone on, a hundredth from the second, and so on.

    Example:
        >>> [round(step_lr(epoch, 0.1, (150, 250)), 4) for epoch in (0, 149.9, 150, 250)]
        [0.1, 0.1, 0.01, 0.001]
    """
    return lr * 0.1 ** sum(epoch >= milestone for milestone in milestones)


def cosine_lr(epoch: float, lr: float, epochs: float, warmup: float) -> float:
    """Linear from 0 to ``lr`` over ``warmup`` epochs, then half a cosine down to 0 at ``epochs``.

    Example:
        >>> [round(cosine_lr(epoch, 1.0, 10, 2), 3) for epoch in (0, 1, 2, 6, 10)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if epoch < warmup:
        return lr * epoch / warmup
    return lr * 0.5 * (1 + cos(pi * (epoch - warmup) / max(epochs - warmup, 1e-9)))


def learning_rate(recipe: Recipe, epoch: float) -> float:
    """The learning rate ``epoch`` epochs into the recipe."""
    if recipe.schedule == "step":
        return step_lr(epoch, recipe.lr, recipe.milestones)
    return cosine_lr(epoch, recipe.lr, recipe.epochs, min(recipe.warmup_epochs, recipe.epochs))


def shortened(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe at another length, to look at its beginning: milestones that it no longer comes to are left out."""
    return replace(recipe, epochs=epochs, milestones=tuple(at for at in recipe.milestones if at < epochs))


def rate_weight(recipe: Recipe, epoch: float) -> float:
    """The weight of the target-rate loss ``epoch`` epochs into the recipe."""
    if epoch < recipe.rate_warmup_epochs:
        return recipe.rate_weight * epoch / recipe.rate_warmup_epochs
    return recipe.rate_weight
