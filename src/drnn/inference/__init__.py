"""The deployment form of a network: the same answers in less time."""

from drnn.inference.forms import choose_form
from drnn.inference.optimize import optimize

__all__ = ["choose_form", "optimize"]
