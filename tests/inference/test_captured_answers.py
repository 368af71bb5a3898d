"""Layers recorded for batches of one image: the same answers, by whatever path an image takes.

Each test runs with CUDA graphs where there is a GPU, and everywhere with graphs of torch's tracer: both run fixed
operators on fixed tensors, whatever Python would do now.
"""

import pytest
import torch

import drnn
from drnn.bench.measure import time_ends
from drnn.bench.scripted_gate import Scripted
from drnn.bench.scripts import LoopScript
from drnn.budgets import apply_budget
from drnn.core import RecursiveBlock, gates_of
from drnn.inference.captured import CapturedNetwork

from .captured import captured
from .networks import assert_equal, pictures, small

KINDS = ["resnet20_cifar", "dr_resnet16_cifar", "dr_resnet_digits", "dr_mobilenetv2", "aig_resnet50", "sd_resnet50",
         "rcnn160_cifar", "preresnet110_cifar", "dr_resnet35"]  # fmt: skip


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
        assert_equal(logits, expected)
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


def test_the_benchmark_runs_it(way):
    device, make = way
    fast = captured(small("dr_resnet_digits", device), make)
    slots = [block.num_loops for block in fast.modules() if isinstance(block, RecursiveBlock)]
    loops = torch.tensor([[0] * len(slots), slots, [1] * len(slots)])
    scripted, x = Scripted(fast, LoopScript(loops), 1, device), pictures(1, (1, 8, 8)).to(device)
    for batch in range(len(loops)):
        scripted.check(x, batch)
    ends = captured(small("dr_resnet_digits", device), make)
    with torch.inference_mode():
        time_ends(ends, x, device)
    loops = [piece for piece in ends.recordings.made if piece[0].startswith("body")]
    assert len(loops) == sum(slots)  # every loop, and no gate
    assert len(ends.recordings.made) - len(loops) == len(list(ends.blocks())) - len(slots)
