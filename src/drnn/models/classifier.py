"""What every network here can do, whatever its blocks."""

from collections.abc import Iterable, Iterator
from dataclasses import Field
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from drnn.core import GateRecord, RecursiveBlock
from drnn.core.modes import autocasts
from drnn.core.record import collected
from drnn.models.aig import AdaptiveBlock
from drnn.models.preprocessing import Preprocessing

GATED = (RecursiveBlock, AdaptiveBlock)


class NetworkSpec(Protocol):
    """A dataclass that a network is built from, such as `drnn.models.resnet.ResNetSpec`."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def num_classes(self) -> int:
        """K."""
        ...

    @property
    def input_size(self) -> tuple[int, int, int]:
        """``(C, H, W)``."""
        ...

    @property
    def target_rate(self) -> float | None:
        """Of its gates; None where it has none."""
        ...

    def build(self) -> "Classifier":
        """The network, freshly initialised."""
        ...


class Classifier(nn.Module):
    """An image classifier made of a stem, a row of blocks and a head. Abstract.

    ``model(x)`` gives logits and nothing else; ``model.forward_with_gates(x)`` also tells what the gates did.

    Args:
        spec: what the network is built from; kept as an attribute.

    Attributes:
        name: the registry's name, or the class name of a network built by hand.
        num_classes: K.
        input_size: ``(C, H, W)`` the network was designed for; other H and W work where the strides allow.
        target_rate: the rate its gates are trained to, None where it has none.
        fc: the last layer.
        preprocessing: what images went through before its weights saw them, None where nobody said.
        classes: names of the K answers, none where nobody said.
    """

    fc: nn.Module
    preprocessing: Preprocessing | None = None
    classes: tuple[str, ...] = ()

    def __init__(self, spec: NetworkSpec):
        super().__init__()
        self.spec, self.name = spec, type(self).__name__
        self.num_classes, self.input_size = spec.num_classes, spec.input_size
        self.target_rate: float | None = spec.target_rate

    def stem(self, x: Tensor) -> Tensor:
        """Everything before the blocks."""
        raise NotImplementedError

    def parts(self) -> Iterable[nn.Module]:
        """What stands between stem and head and is called in a row: stages, or blocks where there are none."""
        raise NotImplementedError

    def blocks(self) -> Iterable[nn.Module]:
        """The blocks in order: the parts, and of those that are rows of modules what is in them."""
        return in_rows(self.parts())

    def pooled(self, x: Tensor) -> Tensor:
        """Everything after the blocks but the last layer: what ``fc`` reads, ``(N, D)``."""
        raise NotImplementedError

    def head(self, x: Tensor) -> Tensor:
        """Everything after the blocks, down to logits ``(N, K)``."""
        return self.fc(self.pooled(x))

    def forward(self, x: Tensor) -> Tensor:
        """Classify.

        Shape: x ``(N, C, H, W)`` float -> logits ``(N, K)``; N = 0 is allowed in evaluation.

        Raises:
            TypeError: x is no tensor.
            ValueError: x is not a batch of images with this network's channels or, without autocast, its dtype.
        """
        return self.head(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """Images to what the head reads.

        Raises:
            TypeError, ValueError: as `forward`.
        """
        x = self.stem(self.checked(x))
        for part in self.parts():
            x = part(x)
        return x

    def forward_with_gates(self, x: Tensor) -> tuple[Tensor, GateRecord]:
        """Classify, and report all T loop slots in order: logits ``(N, K)`` and a `GateRecord` of ``(N, T)``.

        T is 0 for a network without recursive or gated blocks.
        """
        with collected() as records:
            y = self.forward(x)
        return y, GateRecord.join(records, like=x)

    def checked(self, x: Tensor) -> Tensor:
        """Images x ``(N, C, H, W)``, as they came.

        Raises:
            TypeError, ValueError: as `forward`.
        """
        channels = self.input_size[0]
        if not hasattr(x, "dim"):
            raise TypeError(
                f"{self.name} received {type(x).__name__}; it takes a tensor of images (N, {channels}, H, W), such as "
                "torch.from_numpy makes of an array"
            )
        if x.dim() != 4 or x.shape[1] != channels or not x.is_floating_point():
            raise ValueError(
                f"{self.name} received {x.dtype} of shape {tuple(x.shape)}; it takes float (N, {channels}, H, W). "
                "Add a batch dimension with x[None], convert with x.float(), or build the network with in_chans=..."
            )
        own = _dtype_of(self._modules.get("conv1"))
        if x.dtype != own and own is not None and not autocasts(x):
            raise ValueError(
                f"{self.name} received images of {x.dtype}; its weights are {own}. Convert with x.to({own}) or "
                f"model.to({x.dtype}), or run it under torch.autocast"
            )
        return x


def _dtype_of(layer: nn.Module | None) -> torch.dtype | None:
    """Of a layer's own weight, a buffer where norms were folded into it; None where it has none to tell."""
    if layer is not None:
        for held in (layer._parameters, layer._buffers):  # layer.parameters() takes ten times as long
            for value in held.values():
                if value is not None and value.is_floating_point():
                    return value.dtype
    return None


def in_rows(parts: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """``parts`` in order, an ``nn.Sequential`` replaced by what is in it."""
    for part in parts:
        if isinstance(part, nn.Sequential) and type(part).forward is nn.Sequential.forward:
            yield from in_rows(part)
        else:
            yield part


def zero_init_loops(model: nn.Module) -> nn.Module:
    """Let every loop of a fresh network begin as the identity, in place: what its branch ends in begins at 0.

    That is the last norm, in every loop, or the last convolution of a pre-activation block; a body names it by
    ``branch_end``. Returns the model.

    Raises:
        ValueError: no block loops, or one whose body does not say what its branch ends in, or ends in a layer without
            a parameter ``weight``. Nothing is changed then.

    Source: Goyal et al., "Accurate, large minibatch SGD", 2017, of residual blocks; torchvision's
        ``zero_init_residual``. Here ordinary blocks begin as ever.
    """
    bodies = [block.body for block in model.modules() if isinstance(block, RecursiveBlock)]
    if not bodies:
        raise ValueError(f"{getattr(model, 'name', type(model).__name__)} received; no block of it loops")
    weights = [weight for body in bodies for weight in _branch_end(body)]
    with torch.no_grad():
        for weight in weights:
            weight.zero_()
    return model


def _branch_end(body: nn.Module) -> list[nn.Parameter]:
    """What scales the end of a body's branch, for all loops."""
    kind, name = type(body).__name__, getattr(body, "branch_end", None)
    if not isinstance(name, str):
        raise ValueError(f"{kind} received, which has no branch_end; let it name the layer that its branch ends in")
    layer = body.get_submodule(name)
    found = [parameter for key, parameter in layer.named_parameters() if key.rpartition(".")[2] == "weight"]
    if not found:
        raise ValueError(f"{kind} received; its {name} ({type(layer).__name__}) has no parameter weight to begin at 0")
    return found


def set_dense(model: nn.Module, dense: bool = True) -> nn.Module:
    """Switch every gated block of ``model`` to the form without data-dependent shapes, or back; returns the model."""
    for module in model.modules():
        if isinstance(module, GATED):
            module.set_dense(dense)
    return model


def initialise(model: nn.Module) -> None:
    """He initialisation of every convolution. Norms start at gamma 1, beta 0; gates keep their own start."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
