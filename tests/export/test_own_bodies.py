"""Files of networks whose blocks loop over bodies of somebody's own."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from drnn import export_onnx, load_onnx
from drnn.core import ILVBN2d
from drnn.export import verify
from drnn.export.loop_costs import loop_costs
from drnn.models.blocks import conv

from .small import SPEC, assert_equals_eager, small_network


class SqueezeAndExcitation(nn.Module):
    """A convolution, and a weight for each channel of the mean."""

    def __init__(self, channels, loops):
        super().__init__()
        self.conv1, self.bn1 = conv(channels, channels, 3), ILVBN2d(channels, loops)
        self.squeeze, self.excite = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)

    def forward(self, x, loop, groups):
        y = self.bn1(self.conv1(x), loop, groups)
        return torch.relu(x + y * torch.sigmoid(self.excite(torch.relu(self.squeeze(y.mean((2, 3), keepdim=True))))))


class Pointwise(nn.Module):
    """Fully connected layers at every place, as ConvNeXt has them."""

    def __init__(self, channels, loops):
        super().__init__()
        self.norm, self.fc1, self.fc2 = nn.LayerNorm(channels), nn.Linear(channels, 20), nn.Linear(20, channels)

    def forward(self, x, loop, groups):
        return x + self.fc2(torch.relu(self.fc1(self.norm(x.permute(0, 2, 3, 1))))).permute(0, 3, 1, 2)


class Attention(nn.Module):
    """A convolution along the channels of the mean, as Efficient Channel Attention has it, and one that runs twice."""

    def __init__(self, channels, loops):
        super().__init__()
        self.along, self.conv1 = nn.Conv1d(1, 1, 3, padding=1), conv(channels, channels, 3)

    def forward(self, x, loop, groups):
        weight = torch.sigmoid(self.along(x.mean((2, 3))[:, None]))[:, 0, :, None, None]
        return x + weight * self.conv1(torch.relu(self.conv1(x)))


class MapScorer(nn.Module):
    """Scores by a convolution over the map."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 2, 3, padding=1)

    def forward(self, x):
        return self.conv(x).mean((2, 3))


class Halving(nn.Module):
    """A convolution of stride 2, and back."""

    def __init__(self, channels, loops):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, 2, 1)

    def forward(self, x, loop, groups):
        return x + nn.functional.interpolate(self.conv1(x), size=x.shape[2:])


def network_with(make):
    model = small_network()
    block = model.layer2[1]
    torch.manual_seed(0)
    block.body = make(model.fc.in_features, block.num_loops)
    return model.eval()


@pytest.mark.parametrize("form", ["branches", "dense"])
@pytest.mark.parametrize("make", [SqueezeAndExcitation, Pointwise, Attention])
def test_layers_at_every_place_and_at_one_are_counted(make, form, tmp_path):
    model = network_with(make)
    model.layer2[1].gate.threshold.copy_(verify.mixed_thresholds(model, verify.varied_images(32, (3, 12, 12)))[0])
    export_onnx(model, tmp_path / "net.onnx", form=form)
    network = load_onnx(tmp_path / "net.onnx")
    for side in (8, 12):
        loops = assert_equals_eager(network, model, verify.varied_images(16, (3, side, side)))
    assert len(set(loops[:, 0])) > 1


@pytest.mark.parametrize("halving", [False, True])
def test_what_cannot_be_counted_is_named_before_the_work_begins(halving, tmp_path):
    model = network_with(Halving if halving else SqueezeAndExcitation)
    if not halving:
        model.layer2[1].gate.scorer = MapScorer(model.fc.in_features)
    with pytest.raises(ValueError, match=r"layer2\.1 costs \d+, \d+ and \d+ .* on maps of 16, 64 and 81 places"):
        export_onnx(model, tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_compiled_body_is_counted_as_it_is():
    model = small_network()
    alone = loop_costs(model)
    model.layer2[1].body = torch.compile(model.layer2[1].body, backend="eager")
    assert loop_costs(model) == alone


def test_a_layer_that_two_bodies_share_is_counted_once_in_each():
    model = small_network(replace(SPEC, blocks=(1, 3), loops=(1, 2)))
    alone = loop_costs(model)
    first, second = model.layer2[1], model.layer2[2]
    second.body.conv1, second.gate = first.body.conv1, first.gate
    assert loop_costs(model) == alone
    assert len(alone) == 2
