"""Weights as oneDNN wants them, for whatever sizes come by."""

from typing import NamedTuple

import torch
from torch import Tensor

KERNELS = ("_convolution_pointwise", "_reorder_convolution_weight", "_get_mkldnn_serialized_md")
MOST_SIZES = 256  # that a convolution remembers: more come only where users send pictures as they are
ConvArgs = tuple[list[int], list[int], list[int], int]  # padding, stride, dilation, groups


class Made(NamedTuple):
    """Tensors made of others, kept for as long as those are the same and unchanged."""

    tensors: tuple[Tensor, ...]
    sources: tuple[Tensor, ...]
    versions: tuple[int, ...]

    @classmethod
    def of(cls, sources: tuple[Tensor, ...], *tensors: Tensor) -> "Made":
        """What was made of ``sources`` as they are now."""
        return cls(tensors, sources, tuple(map(version_of, sources)))

    def fits(self, *sources: Tensor) -> bool:
        """Whether it was made of these very tensors, and nobody has written into them since."""
        for source, own, version in zip(sources, self.sources, self.versions, strict=True):
            if source is not own or version_of(source) != version:
                return False
        return True


def version_of(source: Tensor) -> int:
    """How often torch has written into a tensor, as far as it counts: not for tensors of inference mode."""
    return 0 if source.is_inference() else source._version


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
        weights = [weight for made in list(self._weights.values()) for weight in made.tensors]
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
            return found.tensors[0]
        made = torch.ops.mkldnn._reorder_convolution_weight(weight, *conv_args, [images, *x.shape[1:]])
        layout = layout_of(made)
        if len(self._layouts) >= MOST_SIZES:
            self._layouts.clear()
        self._layouts[met] = next((known for known in list(self._layouts.values()) if known == layout), layout)
        kept = self._weights.get((loop, layout))
        if kept is None or not kept.fits(weight):
            kept = self._weights[loop, layout] = Made.of((weight,), made)
        return kept.tensors[0]


def layout_of(weight: Tensor) -> bytes:
    """How oneDNN laid ``weight`` out, in its own description."""
    return bytes(torch.ops.mkldnn._get_mkldnn_serialized_md(weight).tolist())


def can_fuse() -> bool:
    """Whether this torch has the fused kernels; they are torch's own, used by its compiler, and not documented."""
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in KERNELS)
