"""One graph of a network by `torch.export`, free in the number of images, but in one form, and where wanted in size."""

import torch
from torch.export import Dim, ExportedProgram

from drnn.export.blocks import GraphBlock
from drnn.export.network import ExportableNetwork
from drnn.weights.files import told


@torch.no_grad()
def trace(network: ExportableNetwork, any_size: bool = True) -> ExportedProgram:
    """Trace ``network(images, thresholds)``; without recursive blocks, ``network(images)``.

    Raises:
        ValueError: torch.export cannot express it; the message has its reason.
    """
    from torch._dynamo.exc import TorchDynamoException  # the compiler takes as long to import as torch itself

    count = 1 if network.one_image else 3  # neither 0 nor 1 images, which would stay fixed
    images = torch.zeros(count, *network.classifier.input_size, dtype=torch.float32)
    while any_size and smallest_map(network, images) < 2:  # what is 1 while it is traced stays 1 in the graph
        images = images.repeat(1, 1, 2, 2)
    free = dict.fromkeys((*(() if network.one_image else (0,)), *((2, 3) if any_size else ())), Dim.DYNAMIC)
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


def smallest_map(network: ExportableNetwork, images: torch.Tensor) -> int:
    """The least height or width of what its blocks give; recursive ones keep the size they get."""
    x = network.classifier.stem(images)
    sides = [*x.shape[2:]]
    for block in network.rows:
        if not isinstance(block, GraphBlock):
            x = block(x)
            sides += x.shape[2:]
    return min(sides)
