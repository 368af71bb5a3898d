"""Stretches of layers recorded for batches of one image: the same answers, by whatever path an image takes.

Each test runs with CUDA graphs where there is a GPU, and everywhere with recordings that only keep their own buffers.
"""

import copy

import pytest
import torch

import drnn
from drnn.core import RecursiveBlock
from drnn.inference import gates_of
from drnn.inference.captured import MOST_SHAPES, CapturedNetwork, Recordings

from .networks import lively, pictures

KINDS = ["resnet20_cifar", "dr_resnet16_cifar", "dr_resnet_digits", "dr_mobilenetv2", "aig_resnet50", "sd_resnet50",
         "rcnn160_cifar", "preresnet110_cifar", "dr_resnet35"]  # fmt: skip


class Buffered:
    """Reads and writes its own buffers, as a graph does, and counts."""

    def __init__(self, work, x, pool):
        self.work, self.images, self.calls = work, torch.full_like(x, torch.nan), 0

    def __call__(self, x):
        self.calls += 1
        self.images.copy_(x)
        return self.work(self.images).clone()


class OnAnyDevice(Recordings):
    def __init__(self, make=Buffered):
        super().__init__(make)

    def can_record(self, x):
        return len(x) == 1


@pytest.fixture(params=["buffers", "graphs"])
def way(request):
    """Device and a maker of recordings."""
    if request.param == "buffers":
        return "cpu", OnAnyDevice
    if not torch.cuda.is_available():
        pytest.skip("CUDA graphs need a GPU")
    return "cuda", Recordings


def small(name, device):
    size = drnn.models.model_spec(name).input_size
    model = drnn.create_model(name, input_size=(size[0], *(min(side, 64) for side in size[1:])))
    return lively(model).to(device)


@pytest.mark.parametrize("name", KINDS)
@torch.inference_mode()
def test_answers_are_those_of_the_network(name, way):
    device, make = way
    with torch.inference_mode(False):
        model = small(name, device)
        fast = CapturedNetwork(drnn.optimize(model), make())
    noisy = name.startswith("aig")  # its gates draw lots in evaluation
    x = pictures(6, model.input_size).to(device)
    for images in (*x.split(1), x, x[:0], *x.flip(0).split(1)):
        torch.manual_seed(0)
        expected, record = model.forward_with_gates(images)
        torch.manual_seed(0)
        logits, fast_record = fast.forward_with_gates(images)
        if noisy and device == "cuda":
            continue
        scale = max(1.0, float(expected.abs().max())) if len(images) else 1.0
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5 * scale)
        assert torch.equal(fast_record.executed, record.executed)
        if not noisy:
            torch.testing.assert_close(fast(images), logits)
    assert fast.recordings.made


def test_a_result_is_not_overwritten_by_the_next(way):
    device, make = way
    fast = CapturedNetwork(drnn.optimize(small("dr_resnet_digits", device)), make())
    first, second = pictures(2, (1, 8, 8)).to(device).split(1)
    kept = fast(first)
    before = kept.clone()
    fast(second)
    assert torch.equal(kept, before)


def test_one_recording_a_stretch_a_gate_and_a_loop(way):
    device, make = way
    fast = CapturedNetwork(drnn.optimize(small("dr_resnet16_cifar", device)), make())
    x = pictures(8, (3, 32, 32)).to(device)
    thresholds = [gate.threshold.clone() for gate in gates_of(fast).values()]
    fast.rehearse(x[:1])
    blocks = [block for block in fast.modules() if isinstance(block, RecursiveBlock)]
    stretches = sum(not isinstance(block, RecursiveBlock) for block in fast.blocks())
    assert len(fast.recordings.made) == stretches + sum(1 + block.num_loops for block in blocks)
    assert thresholds == [gate.threshold for gate in gates_of(fast).values()]
    made = dict(fast.recordings.made)
    for image in x.split(1):
        fast(image)
    assert fast.recordings.made == made


def test_a_static_network_is_one_recording(way):
    device, make = way
    fast = CapturedNetwork(drnn.optimize(small("resnet20_cifar", device)), make())
    fast(pictures(1, (3, 32, 32)).to(device))
    assert len(fast.recordings.made) == 1


def test_thresholds_move_after_recording(way):
    device, make = way
    fast = CapturedNetwork(drnn.optimize(small("dr_resnet16_cifar", device)), make())
    x = pictures(1, (3, 32, 32)).to(device)
    fast.rehearse(x)
    for threshold, loops in ((-torch.inf, 4), (torch.inf, 0)):
        for gate in gates_of(fast).values():
            gate.threshold.fill_(threshold)
        assert fast.forward_with_gates(x)[1].executed.sum() == loops


def test_a_copy_and_a_network_that_moves_record_anew(way):
    device, make = way
    fast = CapturedNetwork(drnn.optimize(small("dr_resnet_digits", device)), make())
    x = pictures(1, (1, 8, 8)).to(device)
    expected = fast(x)
    twin = copy.deepcopy(fast)
    assert twin.recordings is not fast.recordings
    assert not twin.recordings.made
    torch.testing.assert_close(twin(x), expected)
    made = len(fast.recordings.made)
    assert len(twin.recordings.made) == made  # kept in one place, as before
    fast.double()
    assert not fast.recordings.made
    torch.testing.assert_close(fast(x.double()).float(), expected, rtol=0, atol=1e-4)


def test_weights_loaded_later_count(way):
    device, make = way
    fast = CapturedNetwork(drnn.optimize(small("dr_resnet_digits", device)), make())
    other = CapturedNetwork(drnn.optimize(lively(drnn.create_model("dr_resnet_digits"), 5).to(device)), make())
    x = pictures(1, (1, 8, 8)).to(device)
    for network in (fast, other):
        network.rehearse(x)
    fast.load_state_dict(other.state_dict())
    torch.testing.assert_close(fast(x), other(x))
    assert len(fast.state_dict()) == len(drnn.optimize(drnn.create_model("dr_resnet_digits").eval()).state_dict())


def test_not_every_size_is_recorded(way):
    device, make = way
    fast = CapturedNetwork(drnn.optimize(small("resnet20_cifar", device)), make())
    for side in range(16, 16 + MOST_SHAPES + 3):
        assert fast(torch.zeros(1, 3, side, side, device=device)).isfinite().all()
    assert len(fast.recordings.made) == MOST_SHAPES


def test_nothing_is_recorded_on_a_cpu():
    model = small("dr_resnet_digits", "cpu")
    fast, x = CapturedNetwork(drnn.optimize(model)), pictures(1, (1, 8, 8))
    torch.testing.assert_close(fast(x), model(x), rtol=0, atol=1e-5)
    assert not fast.recordings.made


@pytest.mark.parametrize("options", [{}, {"compile": True}])
def test_refused_without_a_gpu_and_with_compile(options):
    with pytest.raises(ValueError, match="capture=True received for a network on cpu"):
        drnn.optimize(drnn.create_model("dr_resnet_digits"), capture=True, **options)
