"""Peak bytes and weight bytes are those alive at once and those kept."""

import pytest
import torch

from drnn.bench.memory import peak_bytes, weight_bytes
from drnn.core import LVBN2d
from drnn.inference.shared_conv import can_scale, fold_loops

PAIR = ("dr_resnet_digits", "resnet_digits")


def test_peak_bytes_are_those_alive_at_once():
    x = torch.ones(1000)

    def chain():
        y = x
        for _ in range(5):
            y = y + 1  # the old one is freed once the new one is there

    def fan():
        kept = [x + i for i in range(5)]
        assert len(kept) == 5

    with torch.inference_mode():
        assert [peak_bytes(work) for work in (chain, fan, lambda: x.add_(1), lambda: x.view(10, 100))] == [
            8000, 20000, 0, 0,
        ]  # fmt: skip


@pytest.mark.skipif(not can_scale(), reason="this torch has no such fused kernels")
def test_weight_bytes_are_what_is_kept_once_more_where_it_is_laid_out():
    conv, norm = torch.nn.Conv2d(256, 256, 1, bias=False), LVBN2d(256, 2).eval()
    tied = torch.nn.Sequential(conv, conv)  # counted once
    assert weight_bytes(tied) == 4 * 256 * 256
    layer = fold_loops(conv, norm)
    kept = 4 * (256 * 256 + 4 * 256)  # weights; scales and shifts of two loops
    assert weight_bytes(layer) == kept
    with torch.inference_mode():
        layer(torch.ones(1, 256, 2, 2), 1)
    assert weight_bytes(layer) == kept + 4 * (256 * 256 + 2 * 256)


@pytest.mark.gpu
def test_peak_bytes_are_those_of_the_device():
    torch.ones(1, device="cuda")
    assert peak_bytes(lambda: torch.ones(1000) + 1, "cpu") == 8000
    assert peak_bytes(lambda: torch.ones(1000, device="cuda"), "cuda") >= 4000
