"""Networks whose numbers are all different from their start."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

import drnn
from drnn.core import Deterministic, gates_of
from drnn.models import model_spec
from drnn.models.classifier import initialise


def lively(model, seed=0):
    """Random norms, statistics and gates in evaluation mode, so that nothing folds by accident and images differ."""
    torch.manual_seed(seed)
    initialise(model)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
            torch.nn.init.uniform_(module.weight, 0.3, 0.9)
            torch.nn.init.normal_(module.bias, std=0.2)
            torch.nn.init.normal_(module.running_mean, std=0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    for gate in gates_of(model).values():
        gate.decide = Deterministic()
        for parameter in gate.scorer.parameters():
            if parameter.dim() == 2:
                torch.nn.init.normal_(parameter, std=2)
        torch.nn.init.zeros_(list(gate.scorer.parameters())[-1])
        gate.register_forward_hook(centre)
    model.eval()
    with torch.no_grad():
        model(pictures(8, model.input_size))
    for gate in gates_of(model).values():
        gate._forward_hooks.clear()
    return model


def small(name, device="cpu", **options):
    """A lively network of that name, at a size that runs fast."""
    channels, *sides = model_spec(name).input_size
    model = drnn.create_model(name, input_size=(channels, *(min(side, 64) for side in sides)), **options)
    return lively(model).to(device)


def centre(gate, arguments, answer):
    """Move the gate's bias so that half of these images execute, the first time it is asked."""
    if not hasattr(gate, "centred") and len(answer.margin):
        gate.centred = True
        with torch.no_grad():
            low, high = answer.margin.sort().values[len(answer.margin) // 2 - 1 :][:2]  # no image on the brink
            list(gate.scorer.parameters())[-1][1] -= (low + high) / 2
        return gate.decide(gate.scorer(arguments[0]))
    return answer


def pictures(count, size, seed=1):
    """Random images, each with a brightness and a contrast of its own, so that gates disagree about them."""
    generator = torch.Generator().manual_seed(seed)
    shift, contrast = torch.randn(2, count, size[0], 1, 1, generator=generator)
    return torch.randn(count, *size, generator=generator) * contrast.exp() + shift


def assert_equal(got, expected):
    """To within rounding: 1e-5 of the largest number, or of 1 where all are smaller."""
    expected = expected.detach()
    scale = float(expected.abs().max().clamp(min=1)) if expected.numel() else 1.0
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5 * scale)


class OperationCounter(TorchDispatchMode):
    """Calls into torch."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))
