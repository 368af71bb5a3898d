"""The residual blocks: each is an ordinary block by itself and the body of a recursive one.

All are called as ``block(x, loop, groups)``; loop and groups only reach the norms, so a block built with
`SharedBatchNorm2d` ignores both. Parameter names are torchvision's. Sums and rectifiers overwrite what a norm gave,
which no gradient needs: a pass over memory less each.
"""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from drnn.core import LoopGroups, SharedBatchNorm2d
from drnn.core.norms import normalise

NormFactory = Callable[[int], nn.Module]


class HiddenChannels(NamedTuple):
    """Channels that only layers of one block know, so that it computes the same with them in any other order.

    ``written`` are the layers that have them as output, norms and depthwise convolutions included; ``read`` those
    convolutions that have them as input alone.
    """

    written: tuple[str, ...]
    read: tuple[str, ...]


def hidden_channels_of(block: nn.Module) -> tuple[HiddenChannels, ...]:
    """What the class of a block says by ``hidden``; none of a class below it, whose further layers nobody knows."""
    said = vars(type(block)).get("hidden", ())
    alike = isinstance(said, tuple) and all(isinstance(channels, HiddenChannels) for channels in said)
    return said if alike else ()


def conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the size at stride 1."""
    return nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)


class ResidualBlock(nn.Module):
    """``relu(branch(x) + shortcut(x))``; a projection shortcut (option B) where the shape changes. Abstract.

    As in every block here, ``branch_end`` names the layer that its branch ends in, and ``hidden`` the layers that
    share channels which nothing outside the block knows.
    """

    expansion = 1
    branch_end: str
    hidden: ClassVar[tuple[HiddenChannels, ...]]

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            projection = conv(in_channels, out_channels, 1, stride)
            self.downsample = nn.Sequential(projection, SharedBatchNorm2d(out_channels))

    def branch(self, x: Tensor, loop: int = 0, groups: LoopGroups | None = None) -> Tensor:
        """The residual function, last norm included, before the sum."""
        raise NotImplementedError

    def shortcut(self, x: Tensor) -> Tensor:
        """The other term of the sum."""
        return x if self.downsample is None else self.downsample(x)

    def forward(self, x: Tensor, loop: int = 0, groups: LoopGroups | None = None) -> Tensor:
        """``(N, C_in, H, W) -> (N, C_out, H / stride, W / stride)``."""
        return torch.relu_(self.branch(x, loop, groups).add_(self.shortcut(x)))


class BasicBlock(ResidualBlock):
    """Two 3 x 3 convolutions."""

    branch_end = "bn2"
    hidden = (HiddenChannels(("conv1", "bn1"), ("conv2",)),)

    def __init__(self, in_channels: int, width: int, stride: int = 1, norm: NormFactory = SharedBatchNorm2d):
        super().__init__(in_channels, width, stride)
        self.conv1, self.bn1 = conv(in_channels, width, 3, stride), norm(width)
        self.conv2, self.bn2 = conv(width, width, 3), norm(width)

    def branch(self, x: Tensor, loop: int = 0, groups: LoopGroups | None = None) -> Tensor:
        """conv-bn-relu-conv-bn."""
        y = torch.relu_(normalise(self.bn1, self.conv1(x), loop, groups))
        return normalise(self.bn2, self.conv2(y), loop, groups)


class Bottleneck(ResidualBlock):
    """1 x 1, 3 x 3, 1 x 1. ``stride_in_3x3`` False is ResNet v1, as in the paper; True is v1.5, as in torchvision."""

    expansion = 4
    branch_end = "bn3"
    hidden = (HiddenChannels(("conv1", "bn1"), ("conv2",)), HiddenChannels(("conv2", "bn2"), ("conv3",)))

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int = 1,
        norm: NormFactory = SharedBatchNorm2d,
        stride_in_3x3: bool = False,
    ):
        super().__init__(in_channels, width * self.expansion, stride)
        first, second = (1, stride) if stride_in_3x3 else (stride, 1)
        self.conv1, self.bn1 = conv(in_channels, width, 1, first), norm(width)
        self.conv2, self.bn2 = conv(width, width, 3, second), norm(width)
        self.conv3, self.bn3 = conv(width, width * self.expansion, 1), norm(width * self.expansion)

    def branch(self, x: Tensor, loop: int = 0, groups: LoopGroups | None = None) -> Tensor:
        """conv-bn-relu-conv-bn-relu-conv-bn."""
        y = torch.relu_(normalise(self.bn1, self.conv1(x), loop, groups))
        y = torch.relu_(normalise(self.bn2, self.conv2(y), loop, groups))
        return normalise(self.bn3, self.conv3(y), loop, groups)


class InvertedResidual(nn.Module):
    """MobileNetV2's block: expand, depthwise, project; a sum without ReLU where the shape stays.

    Source: Sandler et al., 2018.
    """

    branch_end = "bn3"
    hidden: ClassVar = (HiddenChannels(("conv1", "bn1", "conv2", "bn2"), ("conv3",)),)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        expand: int = 6,
        norm: NormFactory = SharedBatchNorm2d,
    ):
        super().__init__()
        hidden = in_channels * expand
        self.residual = stride == 1 and in_channels == out_channels
        self.expand = expand != 1
        if self.expand:
            self.conv1, self.bn1 = conv(in_channels, hidden, 1), norm(hidden)
        self.conv2, self.bn2 = conv(hidden, hidden, 3, stride, groups=hidden), norm(hidden)
        self.conv3, self.bn3 = conv(hidden, out_channels, 1), norm(out_channels)

    def forward(self, x: Tensor, loop: int = 0, groups: LoopGroups | None = None) -> Tensor:
        """``(N, C_in, H, W) -> (N, C_out, H / stride, W / stride)``."""
        y = nn.functional.relu6(normalise(self.bn1, self.conv1(x), loop, groups), inplace=True) if self.expand else x
        y = nn.functional.relu6(normalise(self.bn2, self.conv2(y), loop, groups), inplace=True)
        y = normalise(self.bn3, self.conv3(y), loop, groups)
        return x + y if self.residual else y


class PreActivationBlock(nn.Module):
    """norm-relu-conv twice; where the shape changes, the projection reads the activated input.

    Source: He et al., "Identity mappings in deep residual networks", 2016.
    """

    expansion = 1
    branch_end = "conv2"
    hidden: ClassVar = (HiddenChannels(("conv1", "bn2"), ("conv2",)),)

    def __init__(self, in_channels: int, width: int, stride: int = 1, norm: NormFactory = SharedBatchNorm2d):
        super().__init__()
        self.bn1, self.conv1 = norm(in_channels), conv(in_channels, width, 3, stride)
        self.bn2, self.conv2 = norm(width), conv(width, width, 3)
        change = stride != 1 or in_channels != width
        self.downsample = conv(in_channels, width, 1, stride) if change else None

    def forward(self, x: Tensor, loop: int = 0, groups: LoopGroups | None = None) -> Tensor:
        """``(N, C_in, H, W) -> (N, C_out, H / stride, W / stride)``."""
        y = torch.relu(normalise(self.bn1, x, loop, groups))  # of x itself, where the norm does nothing
        shortcut = x if self.downsample is None else self.downsample(y)
        return shortcut + self.conv2(torch.relu(normalise(self.bn2, self.conv1(y), loop, groups)))
