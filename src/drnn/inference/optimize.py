"""The deployment form of a network: norms folded, layers fused, memory laid out for the machine."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from itertools import chain, product
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from drnn.core import Gate, OpenGate
from drnn.inference.captured import CapturedNetwork
from drnn.inference.copied_conv import CopiedConv2d
from drnn.inference.foldable import refuse_unfoldable
from drnn.inference.folded_blocks import FoldedPreActivation, FoldedResidual
from drnn.inference.folded_conv import FoldedConv2d, is_batch_norm
from drnn.inference.folded_gate import FoldedGate, can_fold, keep_threshold
from drnn.inference.forms import refuse_other_examples
from drnn.inference.laid_out import can_fuse
from drnn.inference.shared_conv import fold_loops
from drnn.models import Classifier, set_dense
from drnn.models.blocks import InvertedResidual, PreActivationBlock, ResidualBlock
from drnn.models.classifier import GATED
from drnn.models.refusals import refuse_other_models
from drnn.timing import time_pairs

STEM_AND_HEAD = (("conv1", "bn1"), ("conv2", "bn2"))
FOLDED = (ResidualBlock, InvertedResidual, PreActivationBlock)
AnyClassifier = TypeVar("AnyClassifier", bound=Classifier)


def optimize(
    model: AnyClassifier,
    example: Tensor | None = None,
    channels_last: bool | None = None,
    fuse: bool | None = None,
    compile: bool = False,
    capture: bool = False,
    mask: bool | None = None,
    share: bool = True,
) -> AnyClassifier:
    """A copy of a network for inference; the original and its weights stay as they are.

    Norms go into the convolutions, sum and activation into the convolution's own kernel where torch has one. (Behind
    weights that loops share, the sum and its ReLU are a pass of their own.) Gates take fewer calls; their thresholds
    are kept.
    Static networks get the same treatment. Logits equal the original's to within rounding: 1e-5 of their size in
    float32; on a GPU, where convolutions round to TF32 unless ``torch.backends.cudnn.allow_tf32`` is off, that of TF32.
    An image with NaN in it gets finite ones, since oneDNN's ReLU makes 0 of NaN.

    Args:
        model: any network of `drnn.models`.
        example: a batch ``(N, C, H, W)``; what ``channels_last``, ``fuse`` and, on a GPU, ``mask`` leave open is then
            found by timing it.
        channels_last: the memory format, where it is known; without it and without ``example``, channels_last.
        fuse: whether to use fused kernels, of oneDNN on a CPU and of cuDNN on a GPU, where torch has them, if that is
            known; without it and without ``example`` they are used. On a CPU a fused call takes longer to start, so
            that single images of small networks can be faster without.
        compile: run every residual block through torch.compile instead, one graph for any batch size and all loops of a
            block; the first call of each takes seconds. Blocks that are pre-activated, of ConvNet-AIG or of stochastic
            depth stay as they are. On a CPU it needs a C++ compiler, and oneDNN's fused kernels are usually faster.
        capture: on a GPU, run batches of one image as CUDA graphs; see `drnn.inference.captured.CapturedNetwork`, which
            is then returned. A graph is recorded when it is met for the first time, or all at once for an ``example``
            of one image.
        mask: whether gated blocks compute every image and mask the results of those that left, which never waits for
            the device, instead of skipping; without it and without ``example``, and on a CPU, as in ``model``. What is
            faster depends on the size of the batch.
        share: on a CPU with fused kernels, let the loops of a residual block share the weights of each convolution of
            65,536 weights or more, as they do in ``model``. Otherwise, elsewhere, and in inverted residuals and
            pre-activation blocks every loop has a copy with its norm folded in: some half a percent less time, for L
            times the memory in a block of L loops.

    Returns:
        A network of the same kind in evaluation mode, for the device and dtype of ``model``: elsewhere it would answer,
        but slowly. It cannot be trained, and its ``state_dict`` is its own, the gates' thresholds included, and
        differs from form to form; keep the weights of ``model``.

    Raises:
        TypeError: something else than a network of `drnn.models`, or an example that is no tensor.
        ValueError: ``capture`` for a network that is not on a GPU, or with ``compile``; a network that is optimised or
            captured already; layers of classes of your own, or with forward hooks, where norms are folded; a
            convolution that pads with something else than zeros; an example without images, or of another shape,
            dtype or device than the network takes.

    Example:
        >>> import drnn
        >>> model = drnn.create_model("dr_resnet_digits").eval()
        >>> x = torch.ones(2, 1, 8, 8)
        >>> torch.allclose(drnn.optimize(model)(x), model(x), atol=1e-5)
        True
    """
    refuse_other_networks(model)
    if example is not None:
        refuse_other_examples(model, example)
    device = next(model.parameters()).device
    if capture:
        refuse_capture(device, compile)
    make = partial(_captured if capture else _optimised, model, compile=compile, share=share)
    if example is None:
        made = make(channels_last is not False, fuse is not False, mask)
    else:
        if fuse is None and (
            compile or device.type not in ("cpu", "cuda") or (device.type == "cpu" and not can_fuse())
        ):
            fuse = True  # nothing to choose
        forms = product(open_forms(channels_last, fuse), open_masks(model, mask))
        made = fastest([partial(make, *form, masked) for form, masked in forms], example)
    if isinstance(made, CapturedNetwork) and example is not None and len(example) == 1:
        made.rehearse(example)
    return cast(AnyClassifier, made)


def refuse_other_networks(model: Classifier) -> None:
    """Only plain networks of this library can be optimised.

    Raises:
        TypeError: not a `Classifier`.
        ValueError: one that is optimised or captured already.
    """
    refuse_other_models(model, "optimize")
    if isinstance(model, CapturedNetwork):
        raise ValueError(f"{model.name} is captured already; optimize the network it was made of")
    if any(isinstance(module, FoldedConv2d) for module in model.modules()):
        raise ValueError(f"{model.name} is optimised already; optimize the network it was made of")


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
def _optimised(
    model: AnyClassifier, channels_last: bool, fuse: bool, mask: bool | None, compile: bool, share: bool
) -> AnyClassifier:
    for name, part in model.named_modules():
        stem_or_head = name in chain(*STEM_AND_HEAD) and (isinstance(part, nn.Conv2d) or is_batch_norm(part))
        if isinstance(part, FOLDED) or can_fold(part) or stem_or_head:
            refuse_unfoldable(name, part)
    twin = deepcopy(model).eval()
    make = partial(CopiedConv2d, fuse=fuse)
    make_loops = partial(fold_loops, fuse=fuse) if share and not compile else make
    for parent in list(twin.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, ResidualBlock | InvertedResidual):
                own = make_loops if isinstance(child, ResidualBlock) else make
                setattr(parent, name, FoldedResidual(child, own, compile))
            elif isinstance(child, PreActivationBlock):
                setattr(parent, name, FoldedPreActivation(child, make))
            elif can_fold(child):
                setattr(parent, name, FoldedGate.of(child))  # type: ignore[arg-type]
            elif isinstance(child, Gate):
                keep_threshold(child)
    for conv, norm in STEM_AND_HEAD:
        if is_batch_norm(getattr(twin, norm, None)):
            setattr(twin, conv, make(getattr(twin, conv), getattr(twin, norm)))
            setattr(twin, norm, nn.Identity())
    if channels_last:
        twin.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        twin.get_submodule("conv1").register_forward_pre_hook(_to_channels_last)
    if mask is not None:
        set_dense(twin, mask)
    return twin.requires_grad_(False).eval()


def _captured(
    model: AnyClassifier, channels_last: bool, fuse: bool, mask: bool | None, compile: bool, share: bool
) -> AnyClassifier:
    return cast(AnyClassifier, CapturedNetwork(_optimised(model, channels_last, fuse, mask, compile, share)))


def _to_channels_last(module: nn.Module, arguments: tuple) -> tuple:
    x, *rest = arguments
    return x.contiguous(memory_format=torch.channels_last), *rest


def open_masks(model: Classifier, mask: bool | None) -> list[bool | None]:
    """Every form of gated blocks that ``mask`` leaves open: on a CPU, and without a gate, that of ``model``."""
    asks = [block for block in model.modules() if isinstance(block, GATED) and not isinstance(block.gate, OpenGate)]
    on_cpu = next(model.parameters()).device.type == "cpu"
    return [mask] if mask is not None or on_cpu or not asks else [False, True]


def open_forms(channels_last: bool | None, fuse: bool | None) -> list[tuple[bool, bool]]:
    """Every ``(channels_last, fuse)`` that the two leave open with None.

    Example:
        >>> open_forms(None, True)
        [(True, True), (False, True)]
    """
    formats, fusings = ([True, False] if option is None else [option] for option in (channels_last, fuse))
    return list(product(formats, fusings))


@torch.inference_mode()
def fastest(makers: list[Callable[[], AnyClassifier]], example: Tensor, rounds: int = 7) -> AnyClassifier:
    """The fastest of several networks on ``example``; each is timed in pairs against the best of those before it."""
    best, *others = makers
    kept = best()
    for make in others:
        kept = _faster(kept, make(), example, rounds)
    return kept


def _faster(first: AnyClassifier, second: AnyClassifier, example: Tensor, rounds: int) -> AnyClassifier:
    times = time_pairs(lambda _: first(example), lambda _: second(example), rounds, device=example.device)
    return first if times.ratio <= 1 else second
