"""A trained network at work: its deployment form, and budgets to turn after training."""

from drnn.inference.budget import Budget, apply_budget, read_budget, write_budget
from drnn.inference.copied_conv import fold
from drnn.inference.forms import choose_form
from drnn.inference.optimize import optimize

__all__ = ["Budget", "apply_budget", "choose_form", "fold", "optimize", "read_budget", "write_budget"]
