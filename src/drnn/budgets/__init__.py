"""Gates turned after training: until an image costs or takes what is asked for, or from closed to open as a curve."""

from drnn.budgets.budget import Budget, apply_budget, read_budget, write_budget

__all__ = ["Budget", "apply_budget", "read_budget", "write_budget"]
