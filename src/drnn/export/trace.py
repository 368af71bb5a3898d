"""One graph of a network by `torch.export`, free in the number of images, but in one form, and where wanted in size."""

import torch
from torch._dynamo.exc import TorchDynamoException
from torch.export import Dim, ExportedProgram

from drnn.export.network import ExportableNetwork
from drnn.weights.files import told


@torch.no_grad()
def trace(network: ExportableNetwork, any_size: bool = True) -> ExportedProgram:
    """Trace ``network(images, thresholds)``; without recursive blocks, ``network(images)``.

    Raises:
        ValueError: torch.export cannot express it; the message has its reason.
    """
    one_image = max(network.batches) == 1
    count = 1 if one_image else 3  # neither 0 nor 1 images, which would stay fixed
    images = torch.zeros(count, *network.classifier.input_size)
    free = dict.fromkeys((*(() if one_image else (0,)), *((2, 3) if any_size else ())), Dim.DYNAMIC)
    arguments, shapes = (images,), (free,)
    if len(network.thresholds):
        arguments, shapes = (images, network.thresholds), (free, None)
    try:
        return torch.export.export(network, arguments, dynamic_shapes=shapes, strict=False)
    except TorchDynamoException as error:
        raise ValueError(
            f"{network.classifier.name} cannot be traced by torch {torch.__version__}: {told(error)}. Export is "
            f"tested with torch 2.11 and newer, and onnxscript 0.6 and newer"
        ) from error
