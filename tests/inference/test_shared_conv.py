"""The loops of a block on one set of weights: the same answers, and one copy where there were L."""

import copy

import pytest
import torch
from torch import nn

import drnn
from drnn.core import LVBN2d
from drnn.inference import shared_conv
from drnn.inference.copied_conv import CopiedConv2d
from drnn.inference.laid_out import can_fuse
from drnn.inference.shared_conv import SharedConv2d, add_relu, can_scale, fold_loops

from .networks import lively, pictures

needs_kernels = pytest.mark.skipif(not can_scale(), reason="this torch has no such fused kernels")
GAMMAS = [1.5, -0.5, 0.0, 1e-30, -1e-12]  # a norm may turn signs around, or leave nothing of a channel


def layer_and_norms(bias=True, groups=1, loops=3):
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(10, 10, 3, padding=1, groups=groups, bias=bias), LVBN2d(10, loops)
    for part in norm.loops:
        nn.init.normal_(part.running_mean)
        nn.init.uniform_(part.running_var, 0.5, 2)
        nn.init.normal_(part.bias)
        part.weight.data = torch.tensor(GAMMAS * 2) * torch.randn(1)
    return conv, norm.eval()


@needs_kernels
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [1, 5])
@pytest.mark.parametrize("way", ["fused", "gradients", "double", "bfloat16"])
def test_every_loop_has_its_own_norm(bias, groups, way):
    conv, norm = layer_and_norms(bias, groups)
    x, dtype = torch.randn(2, 10, 5, 5), torch.double if way == "double" else torch.float32
    layer, x, close = SharedConv2d(conv, norm).to(dtype), x.to(dtype), 5e-2 if way == "bfloat16" else 1e-5
    x.requires_grad_(way == "gradients")
    for loop, part in enumerate(norm.loops):
        with torch.no_grad():
            expected = part.eval().to(dtype)(conv.to(dtype)(x))
        for activation, high in (("relu", None), ("relu6", 6.0), (None, None)):
            for residual in (torch.randn_like(expected) * 5, None):
                total = expected + (0 if residual is None else residual)
                total = total.clamp(0, high) if activation else total
                with torch.set_grad_enabled(way == "gradients"), torch.autocast("cpu", enabled=way == "bfloat16"):
                    got = layer(x, loop, activation, residual)
                torch.testing.assert_close(got.to(dtype), total, rtol=close, atol=close)
    factors = 2 * 4 * 10 * len(norm.loops)
    assert layer.bytes_made() == (layer.weight0.nbytes + factors if way == "fused" else 0)


@pytest.mark.parametrize("has", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_sum_and_relu_with_and_without_the_one_pass(has, layout, monkeypatch):
    if not has:
        monkeypatch.delattr(torch, "_add_relu_")
    y, residual = (torch.randn(2, 3, 4, 5).contiguous(memory_format=layout) for _ in range(2))
    expected = (y + residual).relu()
    assert add_relu(y, residual) is y
    torch.testing.assert_close(y, expected, rtol=0, atol=0)


@needs_kernels
@torch.inference_mode()
def test_other_weights_and_copies_start_anew():
    layer, other = (SharedConv2d(*layer_and_norms()) for _ in range(2))
    for buffer in other.buffers():
        buffer.copy_(torch.randn_like(buffer))
    x = torch.randn(2, 10, 5, 5)
    assert not torch.allclose(layer(x, 1), other(x, 1))
    assert torch.equal(copy.deepcopy(layer)(x, 1), layer(x, 1))
    assert copy.deepcopy(layer).bytes_made() == 0 < layer.bytes_made()
    layer.load_state_dict(other.state_dict())
    assert torch.equal(layer(x, 1), other(x, 1))
    assert torch.allclose(layer.double()(x.double(), 1).float(), other(x, 1), rtol=1e-5, atol=1e-5)


@needs_kernels
def test_large_convolutions_share_and_small_ones_have_copies():
    norm = LVBN2d(256, 2).eval()
    kinds = {width: type(fold_loops(nn.Conv2d(width, 256, 1), norm)) for width in (255, 256)}
    assert kinds == {255: CopiedConv2d, 256: SharedConv2d}
    conv = nn.Conv2d(256, 256, 1)
    assert type(fold_loops(conv, norm, fuse=False)) is CopiedConv2d
    assert type(fold_loops(conv, norm.loops[0])) is CopiedConv2d  # nothing to share
    assert type(fold_loops(conv.double(), norm)) is CopiedConv2d


@needs_kernels
@torch.inference_mode()
def test_a_block_of_many_loops_is_kept_once():
    """Weights of the deployment form, and what oneDNN lays out of them, are those of the plain model, not L times."""
    with torch.inference_mode(False):
        model = lively(drnn.create_model("dr_resnet35", input_size=(3, 64, 64)))
        fast = drnn.optimize(model)
        copies, others = drnn.optimize(model, share=False), drnn.optimize(model, fuse=False)
    x, threads = pictures(3, (3, 64, 64)), torch.get_num_threads()
    torch.set_num_threads(1)  # on several, one image may want other weights than more
    try:
        torch.testing.assert_close(fast(x), model(x), rtol=0, atol=1e-5 * float(model(x).abs().max()))
    finally:
        torch.set_num_threads(threads)

    def elements(network):
        return sum(tensor.numel() for tensor in network.state_dict().values())

    assert elements(fast) < 1.01 * elements(model) < 0.8 * elements(copies)
    assert elements(copies) == elements(others)
    layers = [layer for layer in fast.modules() if isinstance(layer, SharedConv2d)]
    made = [layer.bytes_made() / layer.weight0.nbytes for layer in layers]
    assert 1 < max(made) < 2.5  # one image may want other weights than more; scales and shifts are small beside them


@pytest.fixture
def unknown():
    """Nothing is known of the kernels before and after."""
    can_scale.cache_clear()
    yield
    can_scale.cache_clear()


def test_this_torch_has_the_kernel():
    """Where it does not, the rest of this file skips, and memory grows: then look for another call."""
    assert can_scale() == can_fuse()


@needs_kernels
def test_what_is_the_default_when_it_is_asked_for_does_not_matter(unknown):
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        with torch.device("meta"):
            assert can_scale()
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("behaviour", [RuntimeError("no scaling"), AttributeError("binary"), 3.0])
def test_without_the_scaling_kernel_every_loop_has_a_copy(behaviour, unknown, monkeypatch):
    """Not there, of another name, or there with another meaning."""

    def answer(x, weight, bias, scale, conv_args, activation=None):
        if isinstance(behaviour, Exception):
            raise behaviour
        return x * behaviour

    monkeypatch.setattr(shared_conv, "scaled", answer)
    assert type(fold_loops(nn.Conv2d(256, 256, 1), LVBN2d(256, 2).eval())) is CopiedConv2d
