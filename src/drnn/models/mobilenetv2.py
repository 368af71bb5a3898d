"""MobileNetV2 (Sandler et al., 2018), recursive or not."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from drnn.models.blocks import InvertedResidual, conv
from drnn.models.classifier import Classifier, initialise
from drnn.models.parts import check_parts, recursive

# expansion, channels, stride of the first block: one line a stage
STAGES = ((1, 16, 1), (6, 24, 2), (6, 32, 2), (6, 64, 2), (6, 96, 1), (6, 160, 2), (6, 320, 1))
STEM_WIDTH, HEAD_WIDTH = 32, 1280


@dataclass(frozen=True)
class MobileNetV2Spec:
    """A MobileNetV2 as data; the fields mean what they mean in `ResNetSpec`.

    Raises:
        ValueError: not 7 ``blocks`` and 7 ``loops``, 1 or more, or a name that is not one of those.
    """

    blocks: tuple[int, ...]
    loops: tuple[int, ...] = (1,) * 7
    target_rate: float | None = None
    norm: str = "ilvbn"
    gate: str | None = "linear"
    gate_noise: str = "none"
    input_size: tuple[int, int, int] = (3, 224, 224)
    num_classes: int = 1000

    def __post_init__(self):
        check_parts(self.norm, self.gate, self.gate_noise)
        if not len(self.blocks) == len(self.loops) == len(STAGES) or min(self.blocks + self.loops) < 1:
            raise ValueError(f"blocks {self.blocks} and loops {self.loops} received; give 7 of each, 1 or more")

    def build(self) -> "MobileNetV2":
        """The network, freshly initialised."""
        return MobileNetV2(self)


class MobileNetV2(Classifier):
    """The network a `MobileNetV2Spec` describes: ``conv1 bn1 layer1..7 conv2 bn2 fc``."""

    spec: MobileNetV2Spec

    def __init__(self, spec: MobileNetV2Spec):
        super().__init__(spec)
        self.conv1, self.bn1 = conv(spec.input_size[0], STEM_WIDTH, 3, 2), nn.BatchNorm2d(STEM_WIDTH)
        channels = STEM_WIDTH
        for stage, (expand, width, stride) in enumerate(STAGES):
            blocks: list[nn.Module] = [InvertedResidual(channels, width, stride, expand)]
            blocks += [self._make_block(width, expand, spec.loops[stage]) for _ in range(spec.blocks[stage] - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            channels = width
        self.conv2, self.bn2 = conv(channels, HEAD_WIDTH, 1), nn.BatchNorm2d(HEAD_WIDTH)
        self.dropout, self.fc = nn.Dropout(0.2), nn.Linear(HEAD_WIDTH, spec.num_classes)
        initialise(self)

    def _make_block(self, width: int, expand: int, num_loops: int) -> nn.Module:
        if num_loops == 1:
            return InvertedResidual(width, width, 1, expand)
        spec = self.spec
        make = partial(InvertedResidual, width, width, 1, expand)
        return recursive(make, width, num_loops, spec.norm, spec.gate, spec.gate_noise)

    def stem(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, 32, H / 2, W / 2)``."""
        return nn.functional.relu6(self.bn1(self.conv1(x)))

    def parts(self) -> Iterable[nn.Module]:
        """The stages."""
        return (self.get_submodule(f"layer{stage + 1}") for stage in range(len(STAGES)))

    def pooled(self, x: Tensor) -> Tensor:
        """Last convolution, global average pool, dropout."""
        return self.averaged(self.widened(x))

    def widened(self, x: Tensor) -> Tensor:
        """The last convolution: ``(N, 320, H, W)`` to ``(N, 1280, H, W)``."""
        return nn.functional.relu6(self.bn2(self.conv2(x)))

    def averaged(self, x: Tensor) -> Tensor:
        """Global average pool, dropout: ``(N, 1280, H, W)`` to ``(N, 1280)``."""
        return self.dropout(x.mean((2, 3)))
