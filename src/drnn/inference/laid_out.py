"""Weights as oneDNN wants them, for whatever sizes come by."""

from typing import NamedTuple

import torch
from torch import Tensor

KERNELS = ("_convolution_pointwise", "_reorder_convolution_weight", "_get_mkldnn_serialized_md")
MOST_SIZES = 256  # that a convolution remembers: more come only where users send pictures as they are
ConvArgs = tuple[list[int], list[int], list[int], int]  # padding, stride, dilation, groups


class Made(NamedTuple):
    """A tensor made of another, kept for as long as that is the same and unchanged."""

    tensor: Tensor
    source: Tensor
    version: int | None  # how often the source had been written into; tensors of inference mode do not count it

    @classmethod
    def of(cls, source: Tensor, tensor: Tensor) -> "Made":
        """What was made of ``source`` as it is now."""
        return cls(tensor, source, None if source.is_inference() else source._version)

    def fits(self, source: Tensor) -> bool:
        """Whether it was made of this very tensor, and nobody has written into that since."""
        return source is self.source and (self.version is None or source._version == self.version)


class LaidOutWeights:
    """The weights of one convolution, one set or a set a loop, laid out for the sizes it has met.

    Which layout is the fastest depends on the size of the images, on the number of threads and, on several threads, on
    whether there is one image or more. A convolution on weights of another layout lays them out at every call, which
    took ten times as long as the convolution itself; and a batch from which images leave changes its size. So each
    size, a power of two of images standing for those up to the next, is asked for once; sizes that want the same layout
    share their weights. Where images come in ever new sizes, what is known of them is given up now and then; the
    weights stay.
    """

    def __init__(self):
        self._layouts: dict[tuple[int, ...], bytes] = {}
        self._weights: dict[tuple[int, bytes | None], Made] = {}

    def __len__(self) -> int:
        """How many laid-out weights are kept."""
        return len(self._weights)

    @property
    def nbytes(self) -> int:
        """Of all of them, without what oneDNN may add to fill up its blocks."""
        weights = [made.tensor for made in list(self._weights.values())]
        return sum(weight.numel() * weight.element_size() for weight in weights)

    def get(self, loop: int, weight: Tensor, x: Tensor, conv_args: ConvArgs) -> Tensor:
        """``weight`` of that loop, laid out for x ``(N, C, H, W)``.

        Only sizes that have not been met yet take time, and weights that are others or were written into.
        """
        images, _, *size = x.shape
        images = 1 << images.bit_length() - 1
        met = (torch.get_num_threads(), images, *size)
        found = self._weights.get((loop, self._layouts.get(met)))
        if found is not None and found.fits(weight):
            return found.tensor
        made = torch.ops.mkldnn._reorder_convolution_weight(weight, *conv_args, [images, *x.shape[1:]])
        layout = layout_of(made)
        if len(self._layouts) >= MOST_SIZES:
            self._layouts.clear()
        self._layouts[met] = next((known for known in list(self._layouts.values()) if known == layout), layout)
        kept = self._weights.get((loop, layout))
        if kept is None or not kept.fits(weight):
            kept = self._weights[loop, layout] = Made.of(weight, made)
        return kept.tensor


def layout_of(weight: Tensor) -> bytes:
    """How oneDNN laid ``weight`` out, in its own description."""
    return bytes(torch.ops.mkldnn._get_mkldnn_serialized_md(weight).tolist())


def can_fuse() -> bool:
    """Whether this torch has the fused kernels; they are torch's own, used by its compiler, and not documented."""
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in KERNELS)
