"""Weights lie as oneDNN wants them for the batch at hand, whatever batches came before."""

import copy

import pytest
import torch
from torch import nn

from drnn.inference import laid_out as laid_out_module
from drnn.inference.copied_conv import CopiedConv2d
from drnn.inference.laid_out import LaidOutWeights, can_fuse, layout_of

pytestmark = pytest.mark.skipif(not can_fuse(), reason="this torch has no fused kernels")
BATCHES = [8, 1, 3, 8, 1]
CONV_ARGS = ([0, 0], [1, 1], [1, 1], 1)


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def asked(weight, images, side=14):
    """What oneDNN asks for at that size; a power of two stands for those up to the next."""
    images = 1 << images.bit_length() - 1
    made = torch.ops.mkldnn._reorder_convolution_weight(weight, *CONV_ARGS, [images, weight.shape[1], side, side])
    return layout_of(made)


def test_every_size_finds_the_layout_it_asks_for_and_equal_layouts_are_kept_once(threads):
    weights, laid_out = torch.randn(2, 1024, 256, 1, 1), LaidOutWeights()
    for batch in BATCHES:
        for loop, weight in enumerate(weights):
            found = laid_out.get(loop, weight, torch.zeros(batch, 256, 14, 14), CONV_ARGS)
            assert layout_of(found) == asked(weight, batch)
    assert len(laid_out) == 2 * len({asked(weights[0], batch) for batch in BATCHES})


def test_what_was_met_is_not_laid_out_again():
    weight, laid_out = torch.randn(64, 16, 1, 1), LaidOutWeights()
    x = torch.zeros(5, 16, 8, 8)
    first = laid_out.get(0, weight, x, CONV_ARGS)
    assert laid_out.get(0, weight, x, CONV_ARGS) is first
    assert laid_out.get(0, weight, x[:4], CONV_ARGS) is first


def test_ever_new_sizes_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(laid_out_module, "MOST_SIZES", 4)
    weight, laid_out = torch.randn(64, 16, 1, 1), LaidOutWeights()
    for side in range(2, 12):
        found = laid_out.get(0, weight, torch.zeros(1, 16, side, side), CONV_ARGS)
        assert layout_of(found) == asked(weight, 1, side)
        assert len(laid_out._layouts) <= 4
    assert len(laid_out) == len({asked(weight, 1, side) for side in range(2, 12)})


@torch.inference_mode()
def test_batches_of_any_size_in_any_order_give_the_same(threads):
    """A layer that met other sizes, and a copy of it, answer as one that did not."""
    layer = CopiedConv2d(nn.Conv2d(256, 1024, 1, bias=False), nn.BatchNorm2d(1024).eval())
    x = torch.randn(8, 256, 14, 14).contiguous(memory_format=torch.channels_last)
    for batch in BATCHES:
        expected = CopiedConv2d.forward(copy.deepcopy(layer), x[:batch], 0, "relu")
        torch.testing.assert_close(layer(x[:batch], 0, "relu"), expected, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_other_weights_are_laid_out_anew():
    layer, other = (CopiedConv2d(nn.Conv2d(64, 64, 1), nn.BatchNorm2d(64).eval()) for _ in range(2))
    x = torch.randn(4, 64, 8, 8)
    assert not torch.allclose(layer(x), other(x))
    layer.load_state_dict(other.state_dict())
    assert torch.equal(layer(x), other(x))
