"""Gates turned after training: until an image costs or takes what is asked for, or from closed to open as a curve."""

from drnn.budgets.budget import Budget, apply_budget, read_budget, write_budget
from drnn.budgets.request import Request
from drnn.budgets.turn import turn_gates

__all__ = ["Budget", "Request", "apply_budget", "read_budget", "turn_gates", "write_budget"]
