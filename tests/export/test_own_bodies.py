"""Files of networks whose blocks loop over bodies of somebody's own."""

import pytest
import torch
from torch import nn

from drnn import export_onnx, load_onnx
from drnn.core import ILVBN2d
from drnn.export import verify
from drnn.models.blocks import conv

from .small import assert_equals_eager, small_network


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
@pytest.mark.parametrize("make", [SqueezeAndExcitation, Pointwise])
def test_layers_at_every_place_and_at_one_are_counted(make, form, tmp_path):
    model = network_with(make)
    model.layer2[1].gate.threshold.copy_(verify.mixed_thresholds(model, verify.varied_images(32, (3, 12, 12)))[0])
    export_onnx(model, tmp_path / "net.onnx", form=form)
    network = load_onnx(tmp_path / "net.onnx")
    for side in (8, 12):
        loops = assert_equals_eager(network, model, verify.varied_images(16, (3, side, side)))
    assert len(set(loops[:, 0])) > 1


def test_layers_elsewhere_are_named_before_the_work_begins(tmp_path):
    with pytest.raises(ValueError, match=r"layer2\.1\.body\.conv1 runs at another size than the body that it is in"):
        export_onnx(network_with(Halving), tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []
