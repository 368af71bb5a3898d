"""The form for a batch size is chosen by timing, which leaves the model as it was whatever happens."""

import copy
import sys

import pytest
import torch

import drnn
from drnn.core.loops import loop_executing, loop_masking
from drnn.inference import choose_form
from drnn.inference.optimize import open_masks
from drnn.models import set_dense
from drnn.timing import PairedTimes

from .networks import lively, pictures


def forms_of(model):
    return {block.evaluation_form for block in model.modules() if hasattr(block, "num_loops")}


@pytest.mark.parametrize(("skip_s", "form"), [(1.0, loop_executing), (3.0, loop_masking)])
def test_the_faster_form_is_chosen_and_gives_the_same_answers(skip_s, form, monkeypatch):
    def times(first, second, rounds, device):
        first(0)
        second(0)
        return PairedTimes((skip_s,) * rounds, (2.0,) * rounds)

    monkeypatch.setattr(sys.modules["drnn.inference.forms"], "time_pairs", times)
    model, x = lively(drnn.create_model("dr_resnet16_cifar")), pictures(6, (3, 32, 32))
    expected = model(x)
    assert forms_of(choose_form(model, x)) == {form}
    torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-5 * float(expected.detach().abs().max()))


@pytest.mark.parametrize("part", ["", "layer1.0.bn1"])
def test_a_model_in_training_mode_is_refused_and_its_norms_stay(part):
    model = drnn.create_model("dr_resnet16_cifar").eval()
    model.get_submodule(part).train()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"dr_resnet16_cifar is in training mode.*call model\.eval\(\)"):
        choose_form(model, torch.randn(2, 3, 32, 32), rounds=1)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("user", [drnn.optimize, choose_form])
@pytest.mark.parametrize(
    ("example", "error", "message"),
    [
        (torch.zeros(2, 1, 8, 8).numpy(), TypeError, "example as ndarray received; give a tensor"),
        ([[1.0]], TypeError, "example as list received; give a tensor"),
        (torch.zeros(0, 1, 8, 8), ValueError, r"example of shape \(0, 1, 8, 8\) received; give one image or more"),
        (torch.zeros(2, 1, 8, 0), ValueError, "give one image or more"),
        (torch.zeros(2, 3, 8, 8), ValueError, r"it takes float \(N, 1, H, W\)"),
        (torch.zeros(2, 1, 8, 8).double(), ValueError, r"Convert with x\.to\(torch\.float32\)"),
        (torch.zeros(2, 1, 8, 8, device="meta"), ValueError, r"example on meta received .* give example\.to\('cpu'\)"),
    ],
    ids=["array", "list", "no image", "no columns", "channels", "dtype", "device"],
)
def test_an_example_that_cannot_be_timed_is_refused_before_anything_runs(user, example, error, message):
    model, ran = drnn.create_model("dr_resnet_digits").eval(), []
    for module in model.modules():
        module.register_forward_hook(lambda *_: ran.append(1))  # copies keep it
    with pytest.raises(error, match=message):
        user(model, example)
    assert ran == []


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("fails_in", [loop_executing, loop_masking])
def test_if_timing_fails_the_form_is_what_it_was(dense, fails_in):
    model = set_dense(drnn.create_model("dr_resnet16_cifar").eval(), dense)

    def fail(module, arguments):
        if forms_of(module) == {fails_in}:
            raise MemoryError("too large a batch")

    before = forms_of(model)
    model.register_forward_pre_hook(fail)
    with pytest.raises(MemoryError):
        choose_form(model, torch.randn(2, 3, 32, 32), rounds=1)
    assert forms_of(model) == before


def test_blocks_of_convnet_aig_get_their_form_back():
    model = set_dense(drnn.create_model("aig_resnet110_cifar").eval(), True)
    with pytest.raises(ValueError, match="takes float"):
        choose_form(model, torch.ones(2, 1, 32, 32))
    assert {block.dense for block in model.modules() if hasattr(block, "dense")} == {True}


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("mask", [None, False, True])
def test_an_optimised_network_skips_or_masks_as_asked_and_else_as_before(dense, mask):
    model, x = set_dense(lively(drnn.create_model("dr_resnet16_cifar")), dense), pictures(6, (3, 32, 32))
    for example in (None, x):
        fast = drnn.optimize(model, example, mask=mask, fuse=True, channels_last=True)
        assert forms_of(fast) == {loop_masking if (dense if mask is None else mask) else loop_executing}
        torch.testing.assert_close(fast(x), model(x), rtol=0, atol=1e-4)


def test_only_where_the_host_runs_ahead_and_gates_are_asked_is_there_a_choice():
    with torch.device("meta"):
        gated, static, open_ones = map(drnn.create_model, ("dr_resnet16_cifar", "resnet20_cifar", "r_resnet53_lvbn"))
        adaptive = drnn.create_model("aig_resnet50")
    assert open_masks(gated, None) == open_masks(adaptive, None) == [False, True]
    assert open_masks(gated, True) == [True]
    assert open_masks(static, None) == open_masks(open_ones, None) == [None]
    assert open_masks(drnn.create_model("dr_resnet16_cifar"), None) == [None]
