"""Gates turned after training, until an image costs what is asked for."""

from drnn.budgets.budget import Budget, apply_budget, read_budget, write_budget

__all__ = ["Budget", "apply_budget", "read_budget", "write_budget"]
