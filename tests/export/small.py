"""A network that exports in seconds: one block of two loops whose gate answers differently from image to image."""

import torch

from drnn import Classifier
from drnn.core import Gate
from drnn.costs import count_costs
from drnn.export import verify
from drnn.models.resnet import ResNetSpec

SPEC = ResNetSpec((1, 2), (1, 2), target_rate=0.5, width=8, input_size=(3, 8, 8))
KINDS = [("branches", "once"), ("branches", "folded"), ("loop", "once"), ("dense", "once")]  # form and norms of a file


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


def assert_equals_eager(network, model, x):
    """Logits, loops and multiply-adds of a file for images x; returns its loops."""
    got = network(x.numpy())
    with torch.no_grad():
        logits, record = model.forward_with_gates(x)
    torch.testing.assert_close(torch.from_numpy(got.logits), logits, rtol=1e-4, atol=1e-5)
    assert got.loops.tolist() == verify.loops_per_block(model, record).tolist()
    assert got.macs.tolist() == count_costs(model, tuple(x.shape[1:])).macs_per_image(record).tolist()
    return got.loops
