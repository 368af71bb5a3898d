"""Weights as files: what is beside them, where they come from, and other libraries' names for them."""

from drnn.weights.card import Card
from drnn.weights.files import read_weights
from drnn.weights.folder import Pretrained, from_pretrained, load_pretrained, save_pretrained
from drnn.weights.foreign import load_foreign
from drnn.weights.preprocessing import Preprocessing

__all__ = [
    "Card",
    "Preprocessing",
    "Pretrained",
    "from_pretrained",
    "load_foreign",
    "load_pretrained",
    "read_weights",
    "save_pretrained",
]
