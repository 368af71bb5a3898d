"""ResNets, recursive or not: CIFAR and ImageNet stems, basic blocks and bottlenecks, and three baselines' blocks."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from drnn.models.aig import AdaptiveBlock
from drnn.models.blocks import BasicBlock, Bottleneck, PreActivationBlock, conv
from drnn.models.classifier import Classifier, initialise
from drnn.models.parts import check_name, check_parts, recursive
from drnn.models.stochastic_depth import StochasticBlock, survival_at

BODIES = {"basic": BasicBlock, "bottleneck": Bottleneck, "preact": PreActivationBlock}
STEMS = {"cifar": (3, 1), "imagenet": (7, 2)}  # kernel and stride of the first convolution
RESIDUALS = ("plain", "stochastic", "aig")


@dataclass(frozen=True)
class ResNetSpec:
    """A ResNet as data.

    Attributes:
        blocks: blocks per stage, the one that changes the shape included.
        loops: loops per stage; 1 leaves the stage as it is, more makes all but its first block recursive. None given
            is 1 in every stage.
        target_rate: what the gates are trained to; None for nothing. The gates themselves come from ``gate``, with
            loops, or from ``residual="aig"``.
        norm: inside recursive blocks: "shared", "lvbn" or "ilvbn".
        gate: scorer of recursive blocks: "hidden" or "linear"; None lets every loop run.
        gate_noise: "none", "training" or "always".
        residual: "plain", "stochastic" or "aig"; the last two need a body whose branch and shortcut are summed.
        body: "basic", "bottleneck" or "preact".
        stem: "cifar" (3 x 3) or "imagenet" (7 x 7, stride 2, max pool).
        width: channels of the first stage, before a bottleneck's expansion; doubles with every stage.
        stride_in_3x3: bottlenecks as in ResNet v1.5 and torchvision, instead of v1.
        input_size: ``(C, H, W)``.
        num_classes: K.

    Raises:
        ValueError: another number of ``loops`` than of ``blocks``, one of them below 1, a name that is not one of
            those, or a ``residual`` that the ``body`` does not have.
    """

    blocks: tuple[int, ...]
    loops: tuple[int, ...] = ()
    target_rate: float | None = None
    norm: str = "ilvbn"
    gate: str | None = "hidden"
    gate_noise: str = "none"
    residual: str = "plain"
    body: str = "basic"
    stem: str = "cifar"
    width: int = 16
    stride_in_3x3: bool = False
    input_size: tuple[int, int, int] = (3, 32, 32)
    num_classes: int = 10

    def __post_init__(self):
        check_parts(self.norm, self.gate, self.gate_noise)
        for kind, known in (("body", BODIES), ("stem", STEMS), ("residual", RESIDUALS)):
            check_name(kind, getattr(self, kind), known)
        if len(self.loops) not in (0, len(self.blocks)) or min(self.blocks + self.loops, default=0) < 1:
            raise ValueError(
                f"blocks {self.blocks} and loops {self.loops} received; give one of each, 1 or more, per stage"
            )
        if self.residual != "plain" and self.body == "preact":
            raise ValueError(
                f"residual {self.residual!r} received for the body 'preact', whose branch and shortcut read the same "
                "norm; choose 'basic' or 'bottleneck'"
            )

    def build(self) -> "ResNet":
        """The network, freshly initialised."""
        return ResNet(self)


class ResNet(Classifier):
    """The network a `ResNetSpec` describes. Parameter names are torchvision's (``conv1 bn1 layer1.. fc``)."""

    spec: ResNetSpec

    def __init__(self, spec: ResNetSpec):
        super().__init__(spec)
        self.loops = spec.loops or (1,) * len(spec.blocks)
        bottleneck = partial(Bottleneck, stride_in_3x3=spec.stride_in_3x3)
        self.make_body: Callable[..., Any] = bottleneck if spec.body == "bottleneck" else BODIES[spec.body]
        self.conv1 = conv(spec.input_size[0], spec.width, *STEMS[spec.stem])
        self.bn1 = nn.Identity() if spec.body == "preact" else nn.BatchNorm2d(spec.width)
        self.num_features, self.stages = spec.width, []
        for stage in range(len(spec.blocks)):
            self.stages.append(f"layer{stage + 1}")
            self.add_module(self.stages[-1], self._make_stage(stage))
        self.norm = nn.BatchNorm2d(self.num_features) if spec.body == "preact" else nn.Identity()
        self.fc = nn.Linear(self.num_features, spec.num_classes)
        initialise(self)

    def _make_stage(self, stage: int) -> nn.Sequential:
        return nn.Sequential(*(self._make_block(stage, index) for index in range(self.spec.blocks[stage])))

    def _make_block(self, stage: int, index: int) -> nn.Module:
        spec, channels, width = self.spec, self.num_features, self.spec.width * 2**stage
        if index > 0 and self.loops[stage] > 1:
            make = partial(self.make_body, channels, width, 1)
            return recursive(make, channels, self.loops[stage], spec.norm, spec.gate, spec.gate_noise)
        self.num_features = width * BODIES[spec.body].expansion
        body = self.make_body(channels, width, 2 if index == 0 and stage > 0 else 1)
        if spec.residual == "plain":
            return body
        if spec.residual == "aig":
            return AdaptiveBlock(body, channels)
        return StochasticBlock(body, survival_at(sum(spec.blocks[:stage]) + index, sum(spec.blocks)))

    def stem(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to the first stage's input."""
        x = self.bn1(self.conv1(x))
        if self.spec.body != "preact":
            x = torch.relu(x)
        return nn.functional.max_pool2d(x, 3, 2, 1) if self.spec.stem == "imagenet" else x

    def parts(self) -> Iterable[nn.Module]:
        """The stages."""
        return map(self.get_submodule, self.stages)

    def pooled(self, x: Tensor) -> Tensor:
        """Global average pool."""
        if self.spec.body == "preact":
            x = torch.relu(self.norm(x))
        return x.mean((2, 3))
