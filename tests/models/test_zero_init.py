"""Recursive blocks whose loops begin as the identity."""

import pytest
import torch

from drnn.core import RecursiveBlock
from drnn.models import create_model, zero_init_loops
from drnn.models.resnet import ResNetSpec

NETWORKS = {
    "basic": lambda: create_model("dr_resnet16_cifar"),
    "bottleneck": lambda: create_model("dr_resnet53", blocks=(1, 1, 2, 2), loops=(1, 1, 3, 2)),
    "inverted": lambda: create_model("dr_mobilenetv2"),
    "pre-activation": lambda: ResNetSpec((2, 2), (1, 3), body="preact", target_rate=0.7).build(),
    "naive": lambda: create_model("dr_resnet16_cifar", norm="shared", gate=None, target_rate=None),
}


def blocks_of(model):
    return [block for block in model.modules() if isinstance(block, RecursiveBlock)]


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_loop_gives_what_it_is_given(kind):
    """For images that a ReLU has seen; in training and in evaluation."""
    model = NETWORKS[kind]().train()
    others = {id(parameter) for block in blocks_of(model) for parameter in block.parameters()}
    before = [parameter.clone() for parameter in model.parameters() if id(parameter) not in others]
    zero_init_loops(model)
    assert blocks_of(model)
    for block in blocks_of(model):
        norm = block.body.bn1
        channels = next(weight for name, weight in block.body.named_parameters() if name == "conv1.weight").shape[1]
        x = torch.rand(4, channels, 5, 5)
        for _ in range(2):
            y, record = block.forward_with_gates(x)
            assert record.executed.all()
            torch.testing.assert_close(y, x, rtol=0, atol=0)
            block.eval()
        assert any(bool(weight.any()) for weight in norm.parameters())
    after = [parameter for parameter in model.parameters() if id(parameter) not in others]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_it_learns_all_the_same():
    """The last norm has a gradient, and after one step so has what lies before it."""
    model = zero_init_loops(create_model("dr_resnet16_cifar")).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, labels = torch.randn(8, 3, 32, 32), torch.arange(8)
    for _ in range(2):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), labels).backward()
        optimizer.step()
    for block in blocks_of(model):
        assert all(parameter.grad.any() for parameter in block.body.conv1.parameters())


def test_a_network_without_loops_is_refused():
    with pytest.raises(ValueError, match="resnet20_cifar received; no block of it loops"):
        zero_init_loops(create_model("resnet20_cifar"))
