"""Layers recorded for batches of one image: the same answers, by whatever path an image takes.

Each test runs with CUDA graphs where there is a GPU, and everywhere with graphs of torch's tracer: both run fixed
operators on fixed tensors, whatever Python would do now.
"""

import copy
import sys

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

import drnn
from drnn.bench.measure import time_ends
from drnn.bench.scripted_gate import Scripted
from drnn.bench.scripts import LoopScript
from drnn.bench.subjects import build
from drnn.core import RecursiveBlock, gates_of
from drnn.inference import apply_budget
from drnn.inference.captured import CapturedNetwork
from drnn.inference.optimize import refuse_capture
from drnn.inference.recordings import MOST_SHAPES, CudaGraph, Recording, Recordings

from .networks import lively, pictures

KINDS = ["resnet20_cifar", "dr_resnet16_cifar", "dr_resnet_digits", "dr_mobilenetv2", "aig_resnet50", "sd_resnet50",
         "rcnn160_cifar", "preresnet110_cifar", "dr_resnet35"]  # fmt: skip


class Traced(Recording):
    def record(self, work, place):
        graph = make_fx(lambda images: work(images))(self.images)
        result = graph(self.images)
        return result, lambda: result.copy_(graph(self.images))


class OnAnyDevice(Recordings):
    def __init__(self, make=Traced):
        super().__init__(make)

    def can_record(self, x):
        return len(x) == 1


@pytest.fixture(params=["traced", pytest.param("graphs", marks=pytest.mark.gpu)])
def way(request, monkeypatch):
    """Device and a maker of recordings."""
    if request.param == "traced":
        return "cpu", OnAnyDevice
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    return "cuda", Recordings


def small(name, device, **options):
    size = drnn.models.model_spec(name).input_size
    model = drnn.create_model(name, input_size=(size[0], *(min(side, 64) for side in size[1:])), **options)
    return lively(model).to(device)


def captured(model, make):
    return CapturedNetwork(drnn.optimize(model, fuse=False), make())


@pytest.mark.parametrize("name", KINDS)
@torch.inference_mode()
def test_answers_are_those_of_the_network(name, way):
    device, make = way
    with torch.inference_mode(False):
        model = small(name, device)
        fast = captured(model, make)
    x = pictures(6, model.input_size).to(device)
    for images in (*x.split(1), x, x[:0], *x.flip(0).split(1)):
        expected, record = model.forward_with_gates(images)
        logits, fast_record = fast.forward_with_gates(images)
        scale = max(1.0, float(expected.abs().max())) if len(images) else 1.0
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5 * scale)
        assert torch.equal(fast_record.executed, record.executed)
        torch.testing.assert_close(fast(images), logits)
    assert fast.recordings.made


def test_a_result_is_not_overwritten_by_the_next(way):
    device, make = way
    fast = captured(small("dr_resnet_digits", device), make)
    first, second = pictures(2, (1, 8, 8)).to(device).split(1)
    kept = fast(first)
    before = kept.clone()
    fast(second)
    assert torch.equal(kept, before)


def test_one_recording_a_stretch_a_gate_and_a_loop(way):
    device, make = way
    fast = captured(small("dr_resnet16_cifar", device), make)
    x = pictures(8, (3, 32, 32)).to(device)
    thresholds = [gate.threshold.clone() for gate in gates_of(fast).values()]
    fast.rehearse(x[:1])
    blocks = [block for block in fast.modules() if isinstance(block, RecursiveBlock)]
    stretches = sum(not isinstance(block, RecursiveBlock) for block in fast.blocks())
    assert len(fast.recordings.made) == stretches + sum(1 + block.num_loops for block in blocks)
    assert thresholds == [gate.threshold for gate in gates_of(fast).values()]
    made = dict(fast.recordings.made)
    for image in (*x.split(1), x[::3][:1]):  # a slice with other strides on its one row is the same
        fast(image)
    assert fast.recordings.made == made


def test_a_static_network_is_one_recording(way):
    device, make = way
    fast = captured(small("resnet20_cifar", device), make)
    fast(pictures(1, (3, 32, 32)).to(device))
    assert len(fast.recordings.made) == 1


def test_budgets_and_thresholds_count_after_recording(way):
    device, make = way
    model = small("dr_resnet16_cifar", device)
    fast = captured(model, make)
    assert gates_of(fast).keys() == gates_of(model).keys()
    x, seen = pictures(8, (3, 32, 32)).to(device), set()
    fast.rehearse(x[:1])
    for threshold in (-torch.inf, -9.0, 9.0, torch.inf):
        for network in (model, fast):
            apply_budget(network, dict.fromkeys(gates_of(model), threshold))
        expected = model.forward_with_gates(x)[1].executed
        assert torch.equal(torch.cat([fast.forward_with_gates(image)[1].executed for image in x.split(1)]), expected)
        seen.add(int(expected.sum()))
    assert len(seen) == 4


def test_gates_that_draw_lots_do_so_at_every_call(way):
    device, make = way
    model = small("dr_resnet16_cifar", device, gate_noise="always")
    for gate in gates_of(model).values():
        gate.decide = drnn.create_model("dr_resnet16_cifar", gate_noise="always").layer2[1].gate.decide
    fast, x = captured(model, make), pictures(1, (3, 32, 32)).to(device)
    assert len({int(fast.forward_with_gates(x)[1].executed.sum()) for _ in range(40)}) > 1


def test_the_dense_form_too(way):
    device, make = way
    model = small("dr_resnet16_cifar", device)
    fast, x = captured(model, make), pictures(1, (3, 32, 32)).to(device)
    expected = fast(x)
    torch.testing.assert_close(drnn.set_dense(fast)(x), expected, rtol=0, atol=1e-4)


@torch.inference_mode()
def test_blocks_that_mask_are_recorded_with_what_stands_around_them(way):
    device, make = way
    with torch.inference_mode(False):
        model = small("dr_resnet16_cifar", device)
        fast = CapturedNetwork(drnn.optimize(model, fuse=False, mask=True), make())
    x = pictures(8, (3, 32, 32)).to(device)
    for threshold in (0.0, 9.0, -torch.inf):  # after recording, too
        for network in (model, fast):
            apply_budget(network, dict.fromkeys(gates_of(model), threshold))
        expected, record = model.forward_with_gates(x)
        torch.testing.assert_close(torch.cat([fast(image) for image in x.split(1)]), expected, rtol=0, atol=1e-4)
        logits, found = fast.forward_with_gates(x)
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)
        assert torch.equal(found.executed, record.executed)
        assert torch.equal(found.arrived, record.arrived)
    assert len(fast.recordings.made) == 1
    drnn.set_dense(fast, False)
    torch.testing.assert_close(fast(x[:1]), model(x[:1]), rtol=0, atol=1e-4)


def test_blocks_without_a_gate_are_recorded_with_what_stands_around_them(way):
    device, make = way
    model = small("dr_resnet_digits", device, gate=None, target_rate=None)
    fast, x = captured(model, make), pictures(2, (1, 8, 8)).to(device)
    for image in x.split(1):
        expected, record = model.forward_with_gates(image)
        torch.testing.assert_close(fast(image), expected, rtol=0, atol=1e-4)
        logits, found = fast.forward_with_gates(image)
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)
        assert torch.equal(found.executed, record.executed)
    assert len(fast.recordings.made) == 1


@pytest.mark.parametrize("count", [1, 3])
def test_made_in_inference_mode_its_thresholds_and_weights_still_move(count, monkeypatch):
    """`optimize` times networks in inference mode, which makes tensors that may not be changed outside it."""
    monkeypatch.setattr(sys.modules["drnn.inference.optimize"], "refuse_capture", lambda *given: None)
    model, x = small("dr_resnet_digits", "cpu"), pictures(count, (1, 8, 8))
    fast = drnn.optimize(model, x, capture=True, mask=False)
    with torch.inference_mode():
        others = [drnn.optimize(model, capture=True), drnn.optimize(model, capture=True, mask=True)]
    for network in (fast, *others):
        network.load_state_dict(network.state_dict())
        apply_budget(network, dict.fromkeys(gates_of(model), torch.inf))
        assert not network.forward_with_gates(x)[1].executed.any()


def test_lots_are_not_recorded_where_blocks_mask(way):
    device, make = way
    model = small("dr_resnet16_cifar", device, gate_noise="always")
    for gate in gates_of(model).values():
        gate.decide = drnn.create_model("dr_resnet16_cifar", gate_noise="always").layer2[1].gate.decide
    fast = CapturedNetwork(drnn.optimize(model, mask=True), make())
    x = pictures(1, (3, 32, 32)).to(device)
    assert len({int(fast.forward_with_gates(x)[1].executed.sum()) for _ in range(40)}) > 1
    assert len({float(fast(x).sum()) for _ in range(40)}) > 1


def test_a_copy_and_a_network_that_moves_record_anew(way, tmp_path):
    device, make = way
    fast = captured(small("dr_resnet_digits", device), make)
    x = pictures(1, (1, 8, 8)).to(device)
    fast.rehearse(x)
    expected, made = fast(x), len(fast.recordings.made)
    torch.save(fast, tmp_path / "net.pt")
    for twin in (copy.deepcopy(fast), torch.load(tmp_path / "net.pt", weights_only=False)):
        assert twin.recordings is not fast.recordings
        assert not twin.recordings.made
        twin.rehearse(x)
        torch.testing.assert_close(twin(x), expected)
        assert len(twin.recordings.made) == made  # kept in one place, as before
    fast.double()
    assert not fast.recordings.made
    torch.testing.assert_close(fast(x.double()).float(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("assign", [False, True])
def test_weights_loaded_later_count(way, assign):
    device, make = way
    fast = captured(small("dr_resnet_digits", device), make)
    other = captured(lively(drnn.create_model("dr_resnet_digits"), 5).to(device), make)
    x = pictures(1, (1, 8, 8)).to(device)
    fast.rehearse(x)
    fast.load_state_dict(other.state_dict(), assign=assign)
    torch.testing.assert_close(fast(x), other(x))


def test_not_every_size_is_recorded(way):
    device, make = way
    fast = captured(small("resnet20_cifar", device), make)
    for side in range(16, 16 + MOST_SHAPES + 3):
        assert fast(torch.zeros(1, 3, side, side, device=device)).isfinite().all()
    assert len(fast.recordings.made) == MOST_SHAPES


def test_memory_formats_are_recorded_apart(way):
    device, make = way
    model = small("resnet20_cifar", device)
    fast = captured(model, make)
    x = pictures(1, (3, 32, 32)).to(device)
    for images in (x, x.contiguous(memory_format=torch.channels_last)):
        torch.testing.assert_close(fast(images), model(images), rtol=0, atol=1e-4)
    assert len(fast.recordings.made) == 2


def test_training_mode_is_refused_after_recording(way):
    device, make = way
    for name in ("resnet_digits", "dr_resnet_digits"):
        fast = captured(small(name, device), make)
        x = pictures(1, (1, 8, 8)).to(device)
        fast.rehearse(x)
        with pytest.raises(RuntimeError, match="training mode"):
            fast.train()(x)


def test_the_benchmark_runs_it(way):
    device, make = way
    fast = captured(small("dr_resnet_digits", device), make)
    slots = [block.num_loops for block in fast.modules() if isinstance(block, RecursiveBlock)]
    loops = torch.tensor([[0] * len(slots), slots, [1] * len(slots)])
    scripted, x = Scripted(fast, LoopScript(loops), 1, device), pictures(1, (1, 8, 8)).to(device)
    for batch in range(len(loops)):
        scripted.check(x, batch)
    with torch.inference_mode():
        assert min(time_ends(fast, x, device).medians_s) > 0


def test_what_cannot_be_recorded_runs_as_it_is():
    model = small("dr_resnet_digits", "cpu")
    fast, x = CapturedNetwork(drnn.optimize(model)), pictures(1, (1, 8, 8))
    torch.testing.assert_close(fast(x), model(x), rtol=0, atol=1e-5)
    assert not fast.recordings.made  # not on a GPU
    assert fast.recordings.make is CudaGraph


@pytest.mark.gpu
def test_gradients_autocast_and_other_recordings_are_left_alone():
    fast = drnn.optimize(small("dr_resnet_digits", "cuda"), capture=True)
    x = pictures(1, (1, 8, 8)).cuda()
    fast(x.clone().requires_grad_()).sum().backward()
    with torch.autocast("cuda", torch.bfloat16):
        fast(x)
    assert not fast.recordings.made


@pytest.mark.gpu
@pytest.mark.parametrize("channels_last", [None, True, False])
def test_optimize_makes_one_and_records_for_an_example(channels_last, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    model, x = small("dr_resnet16_cifar", "cuda"), pictures(4, (3, 32, 32)).cuda()
    fast = drnn.optimize(model, x[:1], channels_last, capture=True)
    made = dict(fast.recordings.made)
    for image in x.split(1):
        torch.testing.assert_close(fast(image), model(image), rtol=0, atol=1e-4)
    assert fast.recordings.made == made
    assert made
    assert isinstance(build("dr_resnet_digits", "captured", 0, "cuda"), CapturedNetwork)


def test_what_cannot_be_is_refused():
    model = drnn.create_model("dr_resnet_digits").eval()
    with pytest.raises(ValueError, match="capture=True received for a network on cpu"):
        drnn.optimize(model, capture=True)
    with pytest.raises(ValueError, match="choose one of them"):
        refuse_capture(torch.device("cuda"), compile=True)
    with pytest.raises(ValueError, match="captured already"):
        drnn.optimize(CapturedNetwork(drnn.optimize(model)))
