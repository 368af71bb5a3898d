"""Inference on a GPU: the same answers as on the CPU, whatever the batch and the form."""

import pytest
import torch

import drnn
from drnn.bench.measure import measure
from drnn.bench.subjects import Case
from drnn.budgets import apply_budget
from drnn.core import gates_of
from drnn.core.sorting import loop_sorting
from drnn.inference.copied_conv import CopiedConv2d

from .networks import lively, pictures

pytestmark = pytest.mark.gpu
KINDS = ["dr_resnet16_cifar", "resnet20_cifar", "dr_resnet_digits", "preresnet110_cifar"]


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("count", [0, 1, 2, 150])
def test_every_form_answers_as_on_a_cpu(name, count):
    model = lively(drnn.create_model(name))
    x = pictures(count, model.input_size)
    with torch.inference_mode():
        expected, record = model.forward_with_gates(x)
    there = model.to("cuda")
    forms = [there, drnn.optimize(there), drnn.optimize(there, fuse=False, channels_last=False)]
    forms += [drnn.optimize(there, mask=True), drnn.optimize(there, mask=True, capture=True)]
    if count:
        forms += [drnn.optimize(there, x.cuda())]
        forms += [drnn.optimize(there, x.cuda(), capture=True, mask=mask) for mask in (None, False, True)]
    for form in forms:
        apply_budget(form, dict.fromkeys(gates_of(form), 0.0))  # as it was: what is made can be turned
        with torch.inference_mode():
            logits, found = form.forward_with_gates(x.cuda())
        torch.testing.assert_close(logits.cpu(), expected, rtol=1e-4, atol=1e-4)
        assert torch.equal(found.executed.cpu(), record.executed)
        assert torch.equal(found.arrived.cpu(), record.arrived)


@torch.inference_mode()
def test_an_image_does_not_depend_on_its_batch():
    model = drnn.optimize(lively(drnn.create_model("dr_resnet16_cifar")).to("cuda"))
    x = pictures(100, (3, 32, 32)).cuda()
    alone = torch.cat([model(image) for image in x.split(1)])
    torch.testing.assert_close(model(x), alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("channels_last", [True, False])
@torch.inference_mode()
def test_cudnn_fuses_exactly(dtype, channels_last):
    torch.manual_seed(0)
    conv, norm = torch.nn.Conv2d(16, 32, 3, 2, 1).eval(), torch.nn.BatchNorm2d(32).eval()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x, residual = (
        part.cuda().to(dtype, memory_format=layout) for part in (torch.randn(5, 16, 9, 9), torch.randn(5, 32, 5, 5))
    )
    made = [CopiedConv2d(conv, norm, fuse).to("cuda", dtype).to(memory_format=layout) for fuse in (True, False)]
    for other in (None, residual):
        fused, plain = (layer(x, 0, "relu", None if other is None else other.clone()) for layer in made)
        tolerance = 1e-5 if dtype == torch.float32 else 1e-2
        torch.testing.assert_close(fused, plain, rtol=tolerance, atol=tolerance)
        assert fused.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("size", [(64, 1, 1), (64, 3, 3)])
@torch.inference_mode()
def test_memory_that_held_nan_before_does_not_matter(size):
    channels, *kernel = size
    conv = torch.nn.Conv2d(channels, channels, kernel, padding=kernel[0] // 2)
    layer = CopiedConv2d(conv, torch.nn.BatchNorm2d(channels).eval()).cuda().to(memory_format=torch.channels_last)
    x = torch.randn(8, channels, 14, 14, device="cuda").contiguous(memory_format=torch.channels_last)
    for residual in (None, x):
        expected = layer(x, 0, "relu", residual).clone()
        for _ in range(5):
            junk = torch.full_like(expected, torch.nan)  # the allocator hands this block out next
            del junk
            assert torch.equal(layer(x, 0, "relu", residual), expected)


@torch.inference_mode()
def test_the_form_for_gpus_is_the_one_that_runs(monkeypatch):
    used = []
    monkeypatch.setattr("drnn.core.loops.loop_sorting", lambda *given: used.append(1) or loop_sorting(*given))
    lively(drnn.create_model("dr_resnet16_cifar")).to("cuda")(pictures(4, (3, 32, 32)).cuda())
    assert used == [1, 1]


@pytest.mark.filterwarnings("ignore:.*script_method.*:DeprecationWarning")  # by the compiler of torch 2.11
@pytest.mark.parametrize(
    ("form", "count"),
    [
        ("captured", 1),
        *((form, count) for form in ("plain", "optimised", "masked") for count in (1, 70)),
        ("compiled", 70),
    ],
)
def test_the_benchmark_measures_every_form(form, count):
    found = measure(Case("dr_resnet_digits", "resnet_digits", form, count, 2, device="cuda"))
    assert found["efficiency"] > 0
    assert found["limit"] > 0
    assert found["peak_bytes"][0] > 0
