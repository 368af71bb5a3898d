"""A convolution that carries its norms inside: which kernel it runs in, and what is kept for it."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from drnn.core import LVBN2d
from drnn.core.modes import autocasts, has_derivative, is_traced
from drnn.core.norms import is_frozen
from drnn.inference.laid_out import ConvArgs, LaidOutWeights, Made, can_fuse

BatchNorm = nn.BatchNorm2d | nn.SyncBatchNorm  # which compute the same in evaluation


def is_batch_norm(part: nn.Module | None) -> bool:
    """Whether it is a norm of torch, or a frozen one."""
    return isinstance(part, BatchNorm) or is_frozen(part)


def norms_of(norm: nn.Module) -> list[BatchNorm | None]:
    """The norm of every loop; one for all where they share it, [None] where there is none.

    Raises:
        TypeError: not a norm of this project.
    """
    if isinstance(norm, nn.Identity):
        return [None]
    loops = list(norm.loops) if isinstance(norm, LVBN2d) else [norm]
    for part in loops:
        if not is_batch_norm(part):
            raise TypeError(f"{type(part).__name__} received; only batch norms can be folded into a convolution")
    return loops  # type: ignore[return-value]


@torch.no_grad()
def scale_and_shift(norm: BatchNorm) -> tuple[Tensor, Tensor]:
    """What the norm does in evaluation, as ``x * scale + shift``, each ``(C,)``; computed in double precision."""
    if norm.running_mean is None or norm.running_var is None or norm.weight is None:
        raise ValueError(
            f"{norm} received; a norm is folded by its weight, bias and running statistics, and it has not all of them"
        )
    scale = norm.weight.double() * (norm.running_var.double() + norm.eps).rsqrt()
    return scale, norm.bias.double() - norm.running_mean.double() * scale


def finish(y: Tensor, residual: Tensor | None, activation: str | None) -> Tensor:
    """Sum and activation behind a convolution, in place."""
    if residual is not None:
        y = y.add_(residual)
    if activation == "relu":
        return y.relu_()
    return y.clamp_(0.0, 6.0) if activation == "relu6" else y


def can_fuse_now(x: Tensor) -> bool:
    """Fused kernels take images, have no derivative, and are unknown to compilers and tracers."""
    if x.numel() == 0 or torch.compiler.is_compiling() or is_traced():
        return False
    return not has_derivative(x)


def has_fused_cudnn(x: Tensor) -> bool:
    """Whether x is on a GPU where cuDNN's convolution with sum and ReLU may be used.

    Not where kernels have to be deterministic.
    """
    return (
        x.is_cuda
        and x.dtype in (torch.float32, torch.float16)
        and torch.version.hip is None
        and torch.backends.cudnn.enabled
        and torch.backends.cudnn.is_available()
        and not torch.backends.cudnn.deterministic
        and not torch.are_deterministic_algorithms_enabled()
    )


def sum_by_cudnn(
    x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor, stride: tuple[int, ...], padding: tuple[int, ...],
    dilation: tuple[int, ...], groups: int,
) -> Tensor | None:  # fmt: skip
    """``relu(conv(x) + residual)`` in one kernel, on a GPU: passes over memory take longer there than arithmetic.

    None where this cuDNN has no such kernel for it on this GPU, or where the arguments do not fit together.

    ReLU alone is left outside: torch hands cuDNN's kernel for it memory that was never written, times 0.
    """
    try:
        return torch.cudnn_convolution_add_relu(x, weight, residual, 1.0, bias, stride, padding, dilation, groups)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        return None


class FoldedConv2d(nn.Module, ABC):
    """``activation(norm(conv(x)) + residual)`` in evaluation, with the norm of each loop folded in.

    How the loops' weights are kept is up to `CopiedConv2d` and `SharedConv2d`; which kernel runs, and when what was
    made for it is forgotten, is the same for both.

    On a CPU in float32, where torch has oneDNN, sum and activation run inside the convolution on weights laid out for
    it when a size is met for the first time; on a GPU in float32 and float16 a sum and its ReLU run inside cuDNN's;
    elsewhere they run in place behind it. All are for evaluation only.

    Args:
        conv: the convolution that the loops share.
        fuse: whether fused kernels of oneDNN and cuDNN may be used.

    Raises:
        ValueError: no convolution, or one that pads with something else than zeros, or says how much in a word.
    """

    def __init__(self, conv: nn.Conv2d, fuse: bool):
        super().__init__()
        if not isinstance(conv, nn.Conv2d):
            raise ValueError(f"{type(conv).__name__} received; only a Conv2d takes a norm in")
        if conv.padding_mode != "zeros":
            raise ValueError(f"padding_mode {conv.padding_mode!r} received; only zeros are folded")
        if isinstance(conv.padding, str):
            raise ValueError(f"padding {conv.padding!r} received; give it in pixels")
        padding = conv.padding
        self.conv_kwargs = {"stride": conv.stride, "padding": padding, "dilation": conv.dilation, "groups": conv.groups}
        self.conv_args: ConvArgs = (list(padding), list(conv.stride), list(conv.dilation), conv.groups)
        self.fuse, self._lays_out = fuse, fuse and can_fuse()
        self._forget()

    def _forget(self) -> None:
        """What was made of weights that are no longer there, or are elsewhere; the next call makes it again."""
        self._laid_out, self._fits_cudnn = LaidOutWeights(), True
        self._made: dict[int, tuple[Made, ...]] = {}

    def forward(
        self, x: Tensor, loop: int = 0, activation: str | None = None, residual: Tensor | None = None
    ) -> Tensor:
        """Run as loop number ``loop`` on x ``(N, C_in, H, W)``; ``residual`` has the shape of the output."""
        if self._can_fuse(x):
            return self._fused(x, loop, activation, residual)
        weight, bias, kwargs = self.as_arguments(loop)
        if activation == "relu" and residual is not None and self._can_fuse_on_gpu(x):
            y = sum_by_cudnn(x, weight, bias, residual, **kwargs)
            if y is not None:
                return y
            y = torch.nn.functional.conv2d(x, weight, bias, **kwargs)
            self._fits_cudnn = False  # what came in was not at fault
        else:
            y = torch.nn.functional.conv2d(x, weight, bias, **kwargs)
        return finish(y, residual, activation)

    @abstractmethod
    def as_arguments(self, loop: int) -> tuple[Tensor, Tensor, dict]:
        """Weight and bias of a loop, and the other arguments of ``conv2d``."""

    @abstractmethod
    def _fused(self, x: Tensor, loop: int, activation: str | None, residual: Tensor | None) -> Tensor:
        """`forward` in oneDNN's kernels, on weights laid out for x."""

    def bytes_made(self) -> int:
        """Of what was made of the weights for the sizes and loops met so far, and is kept beside them."""
        return self._laid_out.nbytes + sum(part.tensor.nbytes for made in self._made.values() for part in made)

    def _can_fuse(self, x: Tensor) -> bool:
        if not (self._lays_out and x.device.type == "cpu" and x.dtype == torch.float32):
            return False
        return not torch.is_autocast_enabled("cpu") and can_fuse_now(x)

    def _can_fuse_on_gpu(self, x: Tensor) -> bool:
        return self.fuse and self._fits_cudnn and not autocasts(x) and can_fuse_now(x) and has_fused_cudnn(x)

    def _apply(self, fn, recurse=True):
        self._forget()
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, *arguments) -> None:
        self._forget()
        super()._load_from_state_dict(*arguments)

    def __getstate__(self) -> dict:
        """Without what was made: laid-out weights cannot be copied, and the next call makes all of it again."""
        return {**self.__dict__, "_laid_out": LaidOutWeights(), "_made": {}}
