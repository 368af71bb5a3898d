"""Recursive blocks whose loops begin as the identity."""

import pytest
import torch
from torch import nn

from drnn.core import OpenGate, RecursiveBlock
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


class Plain(nn.Module):
    """A norm without weights."""

    def forward(self, x, loop, groups=None):
        return x


@pytest.mark.parametrize("kind", [Plain, lambda: nn.BatchNorm2d(64, affine=False)])
def test_a_norm_that_has_no_weight_to_zero_is_refused(kind):
    """And nothing is changed before."""
    model = create_model("dr_resnet16_cifar")
    model.layer3[1].body.bn2 = kind()
    before = [parameter.clone() for parameter in model.parameters()]
    with pytest.raises(ValueError, match=r"BasicBlock received; its bn2 \((Plain|BatchNorm2d)\) has no parameter"):
        zero_init_loops(model)
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))


def test_a_body_of_ones_own_says_what_its_branch_ends_in():
    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Conv2d(3, 3, 1)

        def forward(self, x, loop, groups):
            return x + self.last(x)

    block = RecursiveBlock(Body(), OpenGate(), 2)
    with pytest.raises(ValueError, match="Body received, which has no branch_end; let it name the layer"):
        zero_init_loops(block)
    Body.branch_end = "last"
    zero_init_loops(block)
    assert not block.body.last.weight.any()
