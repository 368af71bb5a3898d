"""Weights as files: what is beside them, where they come from, and other libraries' names for them."""

from drnn.weights.card import Card
from drnn.weights.files import read_weights
from drnn.weights.folder import from_pretrained, save_pretrained
from drnn.weights.foreign import load_foreign
from drnn.weights.preprocessing import preprocessing_of, usual_preprocessing
from drnn.weights.tied import load_static

__all__ = [
    "Card",
    "from_pretrained",
    "load_foreign",
    "load_static",
    "preprocessing_of",
    "read_weights",
    "save_pretrained",
    "usual_preprocessing",
]
