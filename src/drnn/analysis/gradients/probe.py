"""Gradient norms and gamma / sigma at every loop, read by hooks from one forward and one backward pass."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from drnn.analysis.gradients.variants import Site


class Readings(NamedTuple):
    """What one backward pass left at S loops (sites, in the order in which they run) of B recursive blocks.

    Attributes:
        input_gradient: ``(S,)``, norm of the loss's gradient with respect to the loop's input, over the whole batch.
        weight_gradient: ``(S,)``, norm of this loop's own part of the gradient of the block's convolutions.
        summed_gradient: ``(B,)``, norm of the sum of these parts over the block's loops: what an optimiser sees where
            the weights are shared.
        gain: ``(S,)``, gamma / sigma of the loop's norms: root mean square over channels of |gamma| over the standard
            deviation of this batch, then the geometric mean over the body's norms.
        input_rms: ``(S,)``, root mean square of the loop's input.
        block: ``(S,)``, which recursive block.
        loop: ``(S,)``, which loop of it.
    """

    input_gradient: np.ndarray
    weight_gradient: np.ndarray
    summed_gradient: np.ndarray
    gain: np.ndarray
    input_rms: np.ndarray
    block: np.ndarray
    loop: np.ndarray


class GradientProbe:
    """Hooks on every loop's body for as long as the ``with`` lasts; then `read` what the last backward pass left.

    A body shared by L loops is called L times a pass; the order of the calls tells the loop.
    """

    def __init__(self, sites: list[Site]):
        self.sites, self._handles = sites, []
        self._inputs: dict[nn.Module, list[Tensor]] = {}
        self._gains: dict[nn.Module, list[Tensor]] = {}
        self._parts: dict[nn.Conv2d, list[Tensor]] = {}

    def __enter__(self) -> "GradientProbe":
        for body in dict.fromkeys(site.module for site in self.sites):
            self._inputs[body], self._gains[body] = [], []
            self._handles.append(body.register_forward_pre_hook(partial(self._enter, body)))
            for layer in body.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    self._handles.append(layer.register_forward_pre_hook(partial(self._norm, self._gains[body])))
                elif isinstance(layer, nn.Conv2d):
                    self._parts[layer] = []
                    self._handles.append(layer.register_forward_hook(self._convolution))
        return self

    def __exit__(self, *_) -> None:
        for handle in self._handles:
            handle.remove()

    def _enter(self, body: nn.Module, _: nn.Module, args: tuple) -> None:
        args[0].retain_grad()
        self._inputs[body].append(args[0])

    def _norm(self, gains: list[Tensor], norm: nn.BatchNorm2d, args: tuple) -> None:
        with torch.no_grad():
            var = args[0].var((0, 2, 3), correction=0)
            gains.append((norm.weight**2 / (var + norm.eps)).mean().sqrt())

    def _convolution(self, conv: nn.Conv2d, args: tuple, out: Tensor) -> None:
        place, source = len(self._parts[conv]), args[0].detach()
        self._parts[conv].append(torch.zeros_like(conv.weight))
        out.register_hook(partial(self._weight_part, conv, place, source))

    @torch.no_grad()
    def _weight_part(self, conv: nn.Conv2d, place: int, source: Tensor, gradient: Tensor) -> None:
        geometry: tuple[Any, ...] = (conv.stride, conv.padding, conv.dilation, conv.groups)
        self._parts[conv][place] = conv2d_weight(source, list(conv.weight.shape), gradient, *geometry)

    def read(self) -> Readings:
        """Norms of the last backward pass.

        Raises:
            RuntimeError: nothing was run backward while the probe was on, or more than once.
        """
        calls: dict[nn.Module, int] = {}
        rows, sums = [], {}
        for site in self.sites:
            call = calls.get(site.module, 0)
            calls[site.module] = call + 1
            rows.append(self._row(site, call, sums))
        for body, inputs in self._inputs.items():
            if len(inputs) != calls[body]:
                raise RuntimeError(f"{len(inputs)} calls of a body seen for {calls[body]} loops; run one pass a probe")
        summed = [np.sqrt(sum(float((part**2).sum()) for part in sums[block])) for block in sorted(sums)]
        columns = [np.array(column, np.float64) for column in zip(*rows, strict=True)]
        places = [np.array([getattr(site, name) for site in self.sites]) for name in ("block", "loop")]
        return Readings(columns[0], columns[1], np.array(summed), columns[2], columns[3], places[0], places[1])

    def _row(self, site: Site, call: int, sums: dict[int, list[Tensor]]) -> tuple[float, float, float, float]:
        inputs, gains = self._inputs[site.module], self._gains[site.module]
        if call >= len(inputs) or inputs[call].grad is None:
            raise RuntimeError("no backward pass seen; run loss.backward() inside the probe's with")
        x = inputs[call]
        assert x.grad is not None
        parts = [self._parts[layer][call] for layer in site.module.modules() if isinstance(layer, nn.Conv2d)]
        before = sums.get(site.block)
        sums[site.block] = parts if before is None else [a + b for a, b in zip(before, parts, strict=True)]
        norms = len(gains) // len(inputs)
        gain = torch.stack(gains[call * norms : (call + 1) * norms]).log().mean().exp()
        weight = sum(float((part**2).sum()) for part in parts) ** 0.5
        return float(x.grad.norm()), weight, float(gain), float(x.detach().square().mean().sqrt())


def read_gradients(model: nn.Module, sites: list[Site], loss: Callable[[], Tensor]) -> Readings:
    """Gradients of ``loss()``, which runs ``model`` once; nothing of the model is changed, whatever happens.

    Args:
        model: in the mode in which it is to be measured.
        sites: its loops.
        loss: one forward pass to a scalar.
    """
    gradients = [parameter.grad for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = None  # backward would add to it in place
    buffers = [buffer.clone() for buffer in model.buffers()]
    try:
        with GradientProbe(sites) as probe:
            loss().backward()
    finally:
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.grad = gradient
        with torch.no_grad():
            for buffer, kept in zip(model.buffers(), buffers, strict=True):
                buffer.copy_(kept)
    return probe.read()
