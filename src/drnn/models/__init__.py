"""Networks by name, and the static one that each recursive one is measured against."""

from drnn.models.classifier import Classifier, set_dense, zero_init_loops
from drnn.models.preprocessing import Preprocessing
from drnn.models.registry import MODELS, create_model, list_models, model_spec

__all__ = [
    "MODELS",
    "Classifier",
    "Preprocessing",
    "create_model",
    "list_models",
    "model_spec",
    "set_dense",
    "zero_init_loops",
]
