"""Image models that loop one block instead of stacking many, and stop as soon as the image is easy."""

from drnn.core import GateRecord, RecursiveBlock, target_rate_loss
from drnn.inference import optimize
from drnn.models import Classifier, create_model, list_models, set_dense

__version__ = "0.1.0"

__all__ = [
    "Classifier",
    "GateRecord",
    "RecursiveBlock",
    "__version__",
    "create_model",
    "list_models",
    "optimize",
    "set_dense",
    "target_rate_loss",
]
