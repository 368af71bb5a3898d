"""Norms are inside their convolutions, on kernels that are there and on those that are not."""

import pytest
import torch

import drnn
from drnn.core import LVBN2d
from drnn.inference.copied_conv import CopiedConv2d, fold
from drnn.inference.laid_out import can_fuse


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [1, 4])
def test_folding_is_exact(bias, groups):
    torch.manual_seed(0)
    conv, norm = torch.nn.Conv2d(4, 8, 3, padding=1, groups=groups, bias=bias), LVBN2d(8, 2)
    x = torch.randn(2, 4, 5, 5)
    for loop, part in enumerate(norm.loops):
        torch.nn.init.normal_(part.running_mean)
        torch.nn.init.normal_(part.weight)
        part.eval()
        weight, shift = fold(conv, part)
        expected = part(conv(x))
        torch.testing.assert_close(
            torch.nn.functional.conv2d(x, weight, shift, padding=1, groups=groups), expected, rtol=1e-5, atol=1e-5
        )
        for fuse in (True, False):
            for activation, bound in (("relu", None), ("relu6", 6.0), (None, None)):
                residual = torch.randn_like(expected) * 5
                total = (expected + residual).detach()
                if activation:
                    total = total.clamp(0, bound)
                with torch.inference_mode():
                    got = CopiedConv2d(conv, norm, fuse and can_fuse())(x, loop, activation, residual)
                torch.testing.assert_close(got, total, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fails", ["cudnn", "caller"])
def test_a_gpu_without_the_fused_kernel_takes_plain_calls_from_then_on(fails, monkeypatch):
    """What cuDNN has depends on its version and the GPU; a mistake in a call says nothing of that."""
    asked = []

    def has_none(*given):
        asked.append(given)
        raise RuntimeError("no engine")

    monkeypatch.setattr(torch, "cudnn_convolution_add_relu", has_none)
    monkeypatch.setattr("drnn.inference.folded_conv.can_fuse", lambda: False)
    monkeypatch.setattr("drnn.inference.folded_conv.has_fused_cudnn", lambda x: True)
    layer = CopiedConv2d(torch.nn.Conv2d(4, 4, 3, padding=1), torch.nn.BatchNorm2d(4).eval())
    x = torch.randn(2, 4, 5, 5)
    with torch.no_grad():
        if fails == "caller":
            with pytest.raises(RuntimeError, match="to have 4 channels"):
                layer(torch.ones(2, 3, 5, 5), 0, "relu", x)
        for _ in range(3):
            torch.testing.assert_close(layer(x, 0, "relu", x), torch.relu(layer(x) + x))
    assert len(asked) == (2 if fails == "caller" else 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"padding_mode": "reflect"}, "padding_mode 'reflect' received; only zeros are folded"),
        ({"padding": "same"}, "padding 'same' received; give it in pixels"),
    ],
)
def test_convolutions_that_pad_otherwise_are_refused(change, message):
    """What has no kernel with a norm inside would be computed as if it padded with zeros."""
    conv = torch.nn.Conv2d(4, 4, 3, **{"padding": 1, **change})
    with pytest.raises(ValueError, match=message):
        CopiedConv2d(conv, torch.nn.BatchNorm2d(4))
    model = drnn.create_model("dr_resnet_digits").eval()
    model.layer2[1].body.conv1 = torch.nn.Conv2d(64, 64, 3, bias=False, **{"padding": 1, **change})
    with pytest.raises(ValueError, match=message):
        drnn.optimize(model)


def test_norms_that_were_synchronised_in_training_are_folded_too():
    torch.manual_seed(0)
    model = drnn.create_model("dr_resnet_digits").train()
    model(torch.randn(8, 1, 8, 8))
    x = torch.randn(4, 1, 8, 8)
    expected = drnn.optimize(model)(x)
    synchronised = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert any(isinstance(module, torch.nn.SyncBatchNorm) for module in synchronised.modules())
    fast = drnn.optimize(synchronised)
    torch.testing.assert_close(fast(x), expected)
    assert not any(isinstance(module, torch.nn.SyncBatchNorm) for module in fast.modules())
