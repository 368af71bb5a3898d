"""The deployment form of a network: norms folded, layers fused, memory laid out for the machine."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from drnn.inference.captured import CapturedNetwork
from drnn.inference.folded_blocks import FoldedPreActivation, FoldedResidual
from drnn.inference.folded_conv import FoldedConv2d
from drnn.inference.folded_gate import FoldedGate, can_fold
from drnn.inference.laid_out import can_fuse
from drnn.models import Classifier, set_dense
from drnn.models.blocks import InvertedResidual, PreActivationBlock, ResidualBlock
from drnn.timing import time_pairs

AnyClassifier = TypeVar("AnyClassifier", bound=Classifier)


def optimize(
    model: AnyClassifier,
    example: Tensor | None = None,
    channels_last: bool | None = None,
    fuse: bool = True,
    compile: bool = False,
    capture: bool = False,
) -> AnyClassifier:
    """A copy of a network for inference; the original and its weights stay as they are.

    Every loop's norms go into a copy of that loop's convolutions (L copies in a block of L loops: time for memory),
    sum and activation into the convolution's own kernel where torch has one. Gates take fewer calls; their thresholds
    are kept.
    Static networks get the same treatment. Logits equal the original's to within rounding, 1e-5 of their size.

    Args:
        model: any network of `drnn.models`.
        example: a batch ``(N, C, H, W)``; the faster memory format is then found by timing it.
        channels_last: the memory format, where it is known; without it and without ``example``, channels_last.
        fuse: whether to use oneDNN's fused kernels on a CPU, where torch has them.
        compile: run every residual block through torch.compile instead, one graph for any batch size and all loops of a
            block; the first call of each takes seconds. Pre-activation blocks stay as they are. On a CPU it needs a C++
            compiler, and oneDNN's fused kernels are usually faster.
        capture: on a GPU, run batches of one image as CUDA graphs; see `drnn.inference.captured.CapturedNetwork`, which
            is then returned. A graph is recorded when it is met for the first time, or all at once for an ``example``
            of one image.

    Returns:
        A network of the same kind in evaluation mode. It cannot be trained, and its ``state_dict`` is its own.

    Raises:
        ValueError: ``capture`` for a network that is not on a GPU, or with ``compile``; a network that is captured
            already.

    Example:
        >>> import drnn
        >>> model = drnn.create_model("dr_resnet_digits").eval()
        >>> x = torch.ones(2, 1, 8, 8)
        >>> torch.allclose(drnn.optimize(model)(x), model(x), atol=1e-5)
        True
    """
    if isinstance(model, CapturedNetwork):
        raise ValueError(f"{model.name} is captured already; optimize the network it was made of")
    if capture:
        refuse_capture(next(model.parameters()).device, compile)
    make = partial(_captured if capture else _optimised, model, fuse=fuse, compile=compile)
    if channels_last is None and example is not None:
        made = faster_format(make, example)
    else:
        made = make(channels_last is not False)
    if isinstance(made, CapturedNetwork) and example is not None and len(example) == 1:
        made.rehearse(example)
    return cast(AnyClassifier, made)


def refuse_capture(device: torch.device, compile: bool) -> None:
    """CUDA graphs stand alone, and on a GPU.

    Raises:
        ValueError: another device, or compiled blocks.
    """
    if device.type != "cuda":
        raise ValueError(f"capture=True received for a network on {device}; CUDA graphs need model.to('cuda')")
    if compile:
        raise ValueError("capture=True and compile=True received; choose one of them")


@torch.inference_mode(False)
def _optimised(model: AnyClassifier, channels_last: bool, fuse: bool, compile: bool) -> AnyClassifier:
    twin = deepcopy(model).eval()
    make = partial(FoldedConv2d, fuse=fuse and can_fuse())
    for parent in list(twin.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, ResidualBlock | InvertedResidual):
                setattr(parent, name, FoldedResidual(child, make, compile))
            elif isinstance(child, PreActivationBlock):
                setattr(parent, name, FoldedPreActivation(child, make))
            elif can_fold(child):
                setattr(parent, name, FoldedGate(child))  # type: ignore[arg-type]
    for conv, norm in (("conv1", "bn1"), ("conv2", "bn2")):  # of stem and head
        if isinstance(getattr(twin, norm, None), nn.BatchNorm2d):
            setattr(twin, conv, make(getattr(twin, conv), getattr(twin, norm)))
            setattr(twin, norm, nn.Identity())
    if channels_last:
        twin.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        twin.get_submodule("conv1").register_forward_pre_hook(_to_channels_last)
    return twin.requires_grad_(False).eval()


def _captured(model: AnyClassifier, channels_last: bool, fuse: bool, compile: bool) -> AnyClassifier:
    return cast(AnyClassifier, CapturedNetwork(_optimised(model, channels_last, fuse, compile)))


def _to_channels_last(module: nn.Module, arguments: tuple) -> tuple:
    x, *rest = arguments
    return x.contiguous(memory_format=torch.channels_last), *rest


@torch.inference_mode()
def faster_format(make: Callable[[bool], AnyClassifier], example: Tensor, rounds: int = 7) -> AnyClassifier:
    """``make(channels_last)`` of both memory formats timed in pairs on ``example``; the faster one is kept."""
    rows, columns = make(True), make(False)
    times = time_pairs(lambda _: rows(example), lambda _: columns(example), rounds)
    return rows if times.ratio <= 1 else columns


@torch.inference_mode()
def choose_form(model: AnyClassifier, example: Tensor, rounds: int = 7) -> AnyClassifier:
    """Skip or mask, whichever is faster for batches like ``example (N, C, H, W)`` on its device; returns the model.

    Skipping waits for the device once a gate; masking never does, but computes every loop of every image. The choice
    holds until it is made again: for another batch size, or after the gates were turned.
    """
    skip, mask = partial(_run_as, model, False, example), partial(_run_as, model, True, example)
    set_dense(model, time_pairs(skip, mask, rounds).ratio > 1)
    return model


def _run_as(model: Classifier, dense: bool, example: Tensor, _: int) -> None:
    set_dense(model, dense)
    model(example)
