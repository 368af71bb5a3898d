"""What is recorded of a network, what is recorded anew, and what is left alone."""

import copy

import pytest
import torch

import drnn
from drnn.core import gates_of
from drnn.inference.captured import CapturedNetwork
from drnn.inference.recordings import MOST_SHAPES, CudaGraph

from .captured import captured
from .networks import lively, pictures, small


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


def test_what_cannot_be_recorded_runs_as_it_is():
    model = small("dr_resnet_digits", "cpu")
    fast, x = CapturedNetwork(drnn.optimize(model)), pictures(1, (1, 8, 8))
    torch.testing.assert_close(fast(x), model(x), rtol=0, atol=1e-5)
    assert not fast.recordings.made  # not on a GPU
    assert fast.recordings.make is CudaGraph


@pytest.mark.gpu
def test_gradients_and_autocast_are_left_alone_but_for_gates_which_decline_it():
    fast = drnn.optimize(small("dr_resnet_digits", "cuda"), capture=True)
    x = pictures(1, (1, 8, 8)).cuda()
    fast(x.clone().requires_grad_()).sum().backward()
    assert not fast.recordings.made
    with torch.autocast("cuda", torch.bfloat16):
        executed = fast.forward_with_gates(x)[1].executed
        assert {name.split()[0] for name, *_ in fast.recordings.made} == {"gate"}
        assert torch.equal(fast.forward_with_gates(x)[1].executed, executed)
