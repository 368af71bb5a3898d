"""Image models that loop one block instead of stacking many, and stop as soon as the image is easy."""

from drnn.core import GateRecord, RecursiveBlock, target_rate_loss
from drnn.export import export_onnx, load_onnx
from drnn.inference import optimize
from drnn.memory import keep_freed_memory
from drnn.models import Classifier, create_model, list_models, set_dense
from drnn.weights import from_pretrained, save_pretrained
from drnn.weights.timm_models import register as register_with_timm
from drnn.weights.when_imported import when_imported

__version__ = "0.1.0"

__all__ = [
    "Classifier",
    "GateRecord",
    "RecursiveBlock",
    "__version__",
    "create_model",
    "export_onnx",
    "from_pretrained",
    "keep_freed_memory",
    "list_models",
    "load_onnx",
    "optimize",
    "save_pretrained",
    "set_dense",
    "target_rate_loss",
]

when_imported("timm", register_with_timm)
