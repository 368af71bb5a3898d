"""Networks as files that run elsewhere and still skip: ONNX, and torch's own exported programs."""

from drnn.export.network import ExportableNetwork
from drnn.export.onnx_file import export_onnx
from drnn.export.runner import OnnxNetwork, load_onnx

__all__ = ["ExportableNetwork", "OnnxNetwork", "export_onnx", "load_onnx"]
