"""A network that exports in seconds: one block of two loops whose gate answers differently from image to image."""

import torch

from drnn import Classifier
from drnn.core import Gate
from drnn.models.resnet import ResNetSpec

SPEC = ResNetSpec((1, 2), (1, 2), target_rate=0.5, width=8, input_size=(3, 8, 8))


def small_network(spec: ResNetSpec = SPEC, seed: int = 0) -> Classifier:
    """Random weights, norms that are not the identity, gates that divide the images."""
    torch.manual_seed(seed)
    model = spec.build().eval()
    model.name = "small"
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.3)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, Gate):
            for parameter in module.scorer.parameters():
                torch.nn.init.normal_(parameter)
    return model
