"""What an optimised network has made of its weights is made again when these change, however that is done."""

import copy
import threading

import pytest
import torch
from torch.func import functional_call, jvp

import drnn
from drnn.inference.laid_out import LaidOutWeights, can_fuse

from .networks import assert_equal, lively, pictures

needs_kernels = pytest.mark.skipif(not can_fuse(), reason="this torch has no fused kernels")
DEPRECATED = ("ignore:.torch.jit:FutureWarning", "ignore:.torch.jit:DeprecationWarning")  # before torch 2.15
WIDE = {"width": 64, "blocks": (1, 2), "loops": (1, 3)}  # shares the weights of its loops


def pair(seed=0):
    return lively(drnn.create_model("dr_resnet16_cifar", stem="cifar", **WIDE), seed)


def write(network, other):
    for name, value in network.state_dict().items():
        value.copy_(other.state_dict()[name])


def write_in_inference_mode(network, other):
    with torch.inference_mode():
        write(network, other)


def set_buffers(network, other):
    for name, value in other.state_dict().items():
        place, _, own = name.rpartition(".")
        if own in network.get_submodule(place)._buffers:
            setattr(network.get_submodule(place), own, value.clone())
        else:
            network.get_parameter(name).data = value.clone()


@needs_kernels
@pytest.mark.parametrize("change", [write, write_in_inference_mode, set_buffers])
@pytest.mark.parametrize("share", [True, False])
def test_weights_that_were_written_into_or_replaced_count(change, share):
    first, second, x = pair(0), pair(1), pictures(4, (3, 32, 32))
    network, other = drnn.optimize(first, share=share), drnn.optimize(second, share=share)
    with torch.no_grad():
        before = network(x), network(x[:1])
        change(network, other)
        assert_equal(network(x), second(x))
        assert_equal(network(x[:1]), second(x[:1]))
    assert not torch.allclose(before[0], second(x), atol=0.1)


@needs_kernels
def test_a_call_with_other_weights_leaves_none_behind():
    first, second, x = pair(0), pair(1), pictures(4, (3, 32, 32))
    network, weights = drnn.optimize(first), dict(drnn.optimize(second).state_dict())
    with torch.no_grad():
        assert_equal(functional_call(network, weights, (x,)), second(x))
        assert_equal(network(x), first(x))
        assert_equal(functional_call(network, weights, (x,)), second(x))


@needs_kernels
def test_weights_that_stay_are_laid_out_once(monkeypatch):
    network, x = drnn.optimize(pair()), pictures(4, (3, 32, 32))
    network(x)
    monkeypatch.delattr(torch.ops.mkldnn, "_reorder_convolution_weight")
    network(x)


@pytest.mark.filterwarnings(*DEPRECATED)  # by torch's own derivatives
@pytest.mark.parametrize("form", [None, {"share": True}, {"share": False}], ids=["plain", "shared", "copied"])
def test_forward_derivatives_are_those_of_the_masked_form(form):
    model = pair()
    network = model if form is None else drnn.optimize(model, **form)
    x, direction = pictures(8, (3, 32, 32), seed=1), pictures(8, (3, 32, 32), seed=2)
    executed = model.forward_with_gates(x)[1].executed
    assert 0 < executed.float().mean() < 1
    expected = jvp(drnn.set_dense(copy.deepcopy(model)), (x,), (direction,))[1].detach()
    got = jvp(network, (x,), (direction,))[1]
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.filterwarnings(*DEPRECATED, "ignore::torch.jit.TracerWarning")
def test_a_network_that_masks_can_be_traced():
    model, x = pair(), pictures(2, (3, 32, 32))
    masked = drnn.optimize(model, mask=True)
    with torch.no_grad():
        traced = torch.jit.trace(masked, x, check_trace=False)
        assert_equal(traced(pictures(2, (3, 32, 32), seed=3)), model(pictures(2, (3, 32, 32), seed=3)))


@pytest.mark.parametrize("optimise", [False, True])
def test_gates_of_an_optimised_network_do_not_round_their_scores_under_autocast(optimise):
    model = pair()
    gate = (drnn.optimize(model) if optimise else model).get_submodule("layer2.1.gate")
    maps = torch.rand(16, 128, 4, 4).to(torch.bfloat16)
    with torch.no_grad():
        expected = gate(maps.float()).margin
        with torch.autocast("cpu", torch.bfloat16):
            margin = gate(maps).margin
    assert margin.dtype == torch.float32
    torch.testing.assert_close(margin, expected, rtol=1e-5, atol=1e-5)


@needs_kernels
def test_sizes_may_come_from_several_threads(monkeypatch):
    """A size that another thread meets in the middle of a look at the layouts."""
    layouts, weight, args = LaidOutWeights(), torch.randn(8, 8, 3, 3), ([1, 1], [1, 1], [1, 1], 1)
    images = [torch.randn(1, 8, side, side).to(memory_format=torch.channels_last) for side in range(4, 200)]
    failed = []

    def ask(part):
        try:
            for x in part:
                layouts.get(0, weight, x, args)
        except RuntimeError as error:
            failed.append(error)

    threads = [threading.Thread(target=ask, args=(images[i::4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert copy.copy(layouts).nbytes == layouts.nbytes > 0
