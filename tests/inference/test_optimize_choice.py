"""Which kernels and memory format are used: what is asked for, what torch has, and the fastest on an example."""

import sys
from functools import partial

import pytest
import torch

import drnn
from drnn.inference.copied_conv import CopiedConv2d
from drnn.inference.folded_conv import FoldedConv2d
from drnn.inference.laid_out import can_fuse
from drnn.inference.optimize import fastest
from drnn.timing import PairedTimes

from .networks import assert_equal, lively, pictures


@pytest.mark.parametrize(("ratios", "kept"), [((0.5, 0.5), 0), ((2.0, 0.5), 1), ((2.0, 2.0), 2), ((0.5, 2.0), 2)])
def test_the_fastest_of_several_is_kept(ratios, kept, monkeypatch):
    measured = iter(ratios)
    monkeypatch.setattr(
        sys.modules["drnn.inference.optimize"], "time_pairs",
        lambda first, second, rounds, device: PairedTimes((next(measured),) * rounds, (1.0,) * rounds),
    )  # fmt: skip
    networks = [drnn.create_model("dr_resnet_digits").eval() for _ in range(3)]
    assert fastest([partial(networks.__getitem__, i) for i in range(3)], torch.ones(1, 1, 8, 8)) is networks[kept]


@pytest.mark.skipif(not can_fuse(), reason="this torch has no fused kernels")
@pytest.mark.parametrize(
    ("options", "timed"),
    [
        ({}, {(True, True), (True, False), (False, True), (False, False)}),
        ({"fuse": True}, {(True, True), (False, True)}),
        ({"channels_last": False}, {(False, True), (False, False)}),
        ({"channels_last": True, "fuse": False}, set()),
    ],
)
def test_an_example_decides_what_is_left_open(options, timed):
    """Every form that the options leave open runs on the example, and the one that is kept answers alike."""
    model, x, ran = lively(drnn.create_model("dr_resnet_digits")), pictures(4, (1, 8, 8)), set()

    def note(module, arguments, answer):
        if isinstance(module, FoldedConv2d) and module.weight0.shape[1:3] == (32, 3):  # there the format shows
            ran.add((module.weight0.is_contiguous(memory_format=torch.channels_last), module.fuse))

    with torch.nn.modules.module.register_module_forward_hook(note):
        fast = drnn.optimize(model, x, **options)
    assert ran == timed
    assert len({module.fuse for module in fast.modules() if isinstance(module, FoldedConv2d)}) == 1
    assert_equal(fast(x), model(x))


def test_without_an_example_kernels_are_fused_where_torch_has_them(monkeypatch):
    x = torch.randn(2, 1, 8, 8)
    for has in (can_fuse(), False):
        monkeypatch.setattr("drnn.inference.folded_conv.can_fuse", lambda has=has: has)
        for options, fused in (({}, has), ({"fuse": False}, False)):
            fast = drnn.optimize(drnn.create_model("dr_resnet_digits"), **options)
            with torch.inference_mode():
                fast(x)
            laid_out = {module.bytes_made() > 0 for module in fast.modules() if isinstance(module, FoldedConv2d)}
            assert (True in laid_out) is fused


def test_a_compiler_is_not_led_to_what_it_cannot_trace(monkeypatch):
    monkeypatch.setattr("torch.compiler.is_compiling", lambda: True)
    monkeypatch.setattr("drnn.inference.folded_conv.has_fused_cudnn", lambda x: 1 / 0)
    conv, norm = torch.nn.Conv2d(4, 4, 1), torch.nn.BatchNorm2d(4).eval()
    for has in (can_fuse(), False):
        monkeypatch.setattr("drnn.inference.folded_conv.can_fuse", lambda has=has: has)
        layer = CopiedConv2d(conv, norm)
        y = layer(torch.ones(1, 4, 2, 2), 0, "relu", torch.ones(1, 4, 2, 2))
        assert y.shape == (1, 4, 2, 2)
        assert layer.bytes_made() == 0
