"""A trained network at work: budgets, and what they need."""

from drnn.inference.budget import Budget, apply_budget, gates_of, read_budget, write_budget

__all__ = ["Budget", "apply_budget", "gates_of", "read_budget", "write_budget"]
