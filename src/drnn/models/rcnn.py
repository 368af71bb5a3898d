"""RCNN-K (Liang & Hu, CVPR 2015): recurrent convolutional layers, an earlier way to reuse weights in depth."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from drnn.models.classifier import Classifier


class RecurrentConv2d(nn.Module):
    """A recurrent convolutional layer: one feed-forward pass, then ``iterations`` more with recurrent input.

    ``x(0) = lrn(relu(w_f * u + b))``, ``x(t) = lrn(relu(w_f * u + w_r * x(t - 1) + b))``.
    """

    def __init__(self, channels: int, iterations: int = 3):
        super().__init__()
        self.feedforward = nn.Conv2d(channels, channels, 3, padding=1)
        self.recurrent = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.normalise = response_norm(channels)
        self.iterations = iterations

    def extra_repr(self) -> str:
        """What its modules do not tell."""
        return f"iterations={self.iterations}"

    def forward(self, u: Tensor) -> Tensor:
        """``(N, C, H, W) -> (N, C, H, W)``."""
        forward = self.feedforward(u)
        x = self.normalise(torch.relu(forward))
        for _ in range(self.iterations):
            x = self.normalise(torch.relu(forward + self.recurrent(x)))
        return x


def response_norm(channels: int) -> nn.LocalResponseNorm:
    """Local response normalisation over K / 8 + 1 neighbouring maps, alpha 0.001, beta 0.75."""
    return nn.LocalResponseNorm(channels // 8 + 1, alpha=0.001, beta=0.75, k=1.0)


@dataclass(frozen=True)
class RCNNSpec:
    """An RCNN as data: ``width`` K maps a layer. It has no stages and no gates."""

    width: int
    input_size: tuple[int, int, int] = (3, 32, 32)
    num_classes: int = 10

    @property
    def target_rate(self) -> None:
        """None: it has no gates."""

    def build(self) -> "RCNN":
        """The network, freshly initialised."""
        return RCNN(self)


class RCNN(Classifier):
    """The network an `RCNNSpec` describes.

    5 x 5 convolution, pool, two recurrent layers, pool, two recurrent layers, global max pool, FC.

    Dropout of .5 follows each recurrent layer but the last, behind the pool where there is one.
    """

    def __init__(self, spec: RCNNSpec):
        super().__init__(spec)
        width = spec.width
        self.conv1 = nn.Conv2d(spec.input_size[0], width, 5, padding=2)
        self.normalise, self.pool, self.dropout = response_norm(width), nn.MaxPool2d(3, 2, 1), nn.Dropout(0.5)
        self.layers = nn.ModuleList(RecurrentConv2d(width) for _ in range(4))
        self.fc = nn.Linear(width, spec.num_classes)

    def stem(self, x: Tensor) -> Tensor:
        """Layer 1 and its pool."""
        return self.pool(self.normalise(torch.relu(self.conv1(x))))

    def parts(self) -> Iterable[nn.Module]:
        """Four recurrent layers, a pool in the middle."""
        first, second, third, fourth = self.layers
        return (first, self.dropout, second, self.pool, self.dropout, third, self.dropout, fourth)

    def pooled(self, x: Tensor) -> Tensor:
        """Global max pool."""
        return x.amax((2, 3))
