"""Recipes, the training loop, evaluation, and runs on disk."""

from drnn.training.evaluation import Evaluation, evaluate, evaluate_source
from drnn.training.recipe import Recipe
from drnn.training.recipes import RECIPES, find_recipe
from drnn.training.trainer import train

__all__ = ["RECIPES", "Evaluation", "Recipe", "evaluate", "evaluate_source", "find_recipe", "train"]
