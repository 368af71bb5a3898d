"""Gates of a network in memory, turned until images cost what is asked for."""

import pytest
import torch
from torch import nn

from drnn.budgets import Request, turn_gates
from drnn.core import Deterministic, Gate, LinearScorer, RecursiveBlock, collected, gates_of, thresholds_of
from drnn.costs import count_costs

from ..inference.networks import lively, pictures


class Step(nn.Module):
    """A body."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x, loop, groups):
        return x + self.conv(x)


def own_network():
    """No network of drnn.models: a convolution, a block that loops, a mean."""
    torch.manual_seed(0)
    gate = Gate(LinearScorer(4), Deterministic())
    nn.init.normal_(gate.scorer.fc.weight)
    return nn.Sequential(nn.Conv2d(3, 4, 3), RecursiveBlock(Step(), gate, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def mean_macs(model, x):
    with torch.no_grad(), collected() as records:
        model(x)
    return float(count_costs(model, tuple(x.shape[1:])).macs_per_image(records[0]).double().mean())


@pytest.mark.parametrize("unit", ["macs", "share"])
def test_any_network_with_blocks_that_loop_meets_a_budget(unit):
    model, images = own_network().eval(), torch.randint(0, 256, (200, 3, 10, 10), dtype=torch.uint8)
    most = count_costs(model, (3, 10, 10)).max_macs
    value = 0.6 * most if unit == "macs" else 0.6
    turned = turn_gates(model, images, Request(value, unit), prepare=lambda x: x.float() / 128 - 1)
    assert thresholds_of(model) == pytest.approx(turned.thresholds)
    assert turned.found["macs_mean"] == pytest.approx(0.6 * most, rel=0.02)
    assert mean_macs(model, images.float() / 128 - 1) == turned.found["macs_mean"]
    assert (turned.found["images"], turned.found["static_macs"]) == (200, most)


def test_milliseconds_are_of_networks_that_can_be_optimised():
    import drnn

    images = pictures(16, (3, 32, 32))
    with pytest.raises(TypeError, match=r"a budget in milliseconds takes networks of drnn\.models"):
        turn_gates(own_network().eval(), images, Request(1, "ms"))
    with pytest.raises(ValueError, match="ms with all gates closed and"):
        turn_gates(lively(drnn.create_model("dr_resnet16_cifar")), images, Request(1e5, "ms"))


def test_what_cannot_be_leaves_the_gates_as_they_were():
    model, images = own_network().eval(), torch.randn(50, 3, 10, 10)
    (gate,) = gates_of(model).values()
    gate.threshold.fill_(0.25)
    for request, says in ((1.0, "all gates closed and"), (1e9, "all gates closed and")):
        with pytest.raises(ValueError, match=says):
            turn_gates(model, images, Request(request, "macs"))
        assert float(gate.threshold) == 0.25
    with pytest.raises(ValueError, match="Sequential is in training mode"):
        turn_gates(model.train(), images, Request(0.5, "share"))
    with pytest.raises(ValueError, match="no images received"):
        turn_gates(model.eval(), images[:0], Request(0.5, "share"))
    with pytest.raises(TypeError, match="list received for images"):
        turn_gates(model, [1.0], Request(0.5, "share"))
    model[1].unused = own_network()[1].eval()
    with pytest.raises(ValueError, match=r"1\.unused\.gate was never asked"):
        turn_gates(model, images, Request(0.5, "share"))
    with pytest.raises(ValueError, match="Conv2d has no gates"):
        turn_gates(nn.Conv2d(3, 4, 3).eval(), images, Request(0.5, "share"))
