"""The deployment form equals the plain model in every answer, whatever the network, batch and memory format."""

import copy
import shutil
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._dynamo.utils import counters
from torch.utils._python_dispatch import TorchDispatchMode

import drnn
from drnn.core import LVBN2d
from drnn.core.loops import loop_dense, loop_executing
from drnn.inference import fold, gates_of
from drnn.inference.folded_conv import FoldedConv2d
from drnn.inference.folded_gate import FoldedGate
from drnn.inference.laid_out import can_fuse
from drnn.inference.optimize import choose_form, faster_format
from drnn.timing import PairedTimes

from .networks import lively, pictures

KINDS = [
    "resnet20_cifar", "dr_resnet16_cifar", "dr_resnet32_cifar", "resnet_digits", "dr_resnet_digits", "mobilenetv2",
    "dr_mobilenetv2", "dr_resnet35", "resnet50", "r_resnet53_naive", "aig_resnet50", "sd_resnet50", "rcnn160_cifar",
    "preresnet110_cifar",
]  # fmt: skip
WAYS = {"plain": {"fuse": False, "channels_last": False}, "fused": {}, "fused, nchw": {"channels_last": False}}


def small(name):
    """The network, at a size that runs fast."""
    size = drnn.models.model_spec(name).input_size
    return lively(drnn.create_model(name, input_size=(size[0], *(min(side, 64) for side in size[1:]))))


def assert_equal(got, expected):
    expected = expected.detach()
    scale = float(expected.abs().max().clamp(min=1)) if expected.numel() else 1.0
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", KINDS)
@torch.inference_mode()
def test_logits_and_gates_are_those_of_the_plain_model(name, way):
    with torch.inference_mode(False):
        model = small(name)
        fast = drnn.optimize(model, **WAYS[way])
    x = pictures(4, model.input_size)
    expected, record = model.forward_with_gates(x)
    logits, fast_record = fast.forward_with_gates(x)
    assert_equal(logits, expected)
    assert torch.equal(fast_record.executed, record.executed)
    assert_equal(fast(x), expected)
    assert fast(x[:0]).shape == (0, model.num_classes)
    left = [module for module in fast.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert len(left) == (1 if name.startswith("pre") else 0)


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(0, 5),
    seed=st.integers(0, 50),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
    threshold=st.sampled_from([0.0, 0.5, -0.5, float("inf"), float("-inf")]),
)
def test_any_batch_any_layout_any_threshold(count, seed, layout, threshold):
    model = lively(drnn.create_model("dr_resnet_digits"), seed)
    for gate in gates_of(model).values():
        gate.threshold.fill_(threshold)
    fast = drnn.optimize(model)
    x = pictures(count, (1, 8, 8)).contiguous(memory_format=layout)
    logits, record = fast.forward_with_gates(x)
    expected, plain_record = model.forward_with_gates(x)
    assert_equal(logits, expected)
    assert torch.equal(record.executed, plain_record.executed)
    assert_equal(torch.cat([fast(image[None]) for image in x]) if count else logits, logits)


def test_the_networks_above_are_worth_testing_with():
    """Their images leave at different loops, or the tests would prove little."""
    seen = set()
    for seed in range(8):
        record = lively(drnn.create_model("dr_resnet_digits"), seed).forward_with_gates(pictures(8, (1, 8, 8)))[1]
        seen |= set(record.executed[:, :3].sum(1).tolist())
    assert seen == {0, 1, 2, 3}


def test_the_original_and_its_weights_stay_as_they_are():
    model = lively(drnn.create_model("dr_resnet16_cifar"))
    before, modules = copy.deepcopy(model.state_dict()), [type(module) for module in model.modules()]
    fast = drnn.optimize(model)
    fast(pictures(3, (3, 32, 32)))
    assert [type(module) for module in model.modules()] == modules
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    shared = {p.data_ptr() for p in model.state_dict().values()} & {p.data_ptr() for p in fast.state_dict().values()}
    assert shared == set()


def test_a_copy_and_another_precision_still_agree():
    model = lively(drnn.create_model("dr_resnet16_cifar"))
    fast, x = drnn.optimize(model), pictures(2, (3, 32, 32))
    expected = fast(x)
    assert_equal(copy.deepcopy(fast)(x), expected)
    assert_equal(copy.deepcopy(fast).double()(x.double()).float(), expected)


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
                    got = FoldedConv2d(conv, norm, fuse and can_fuse())(x, loop, activation, residual)
                torch.testing.assert_close(got, total, rtol=1e-5, atol=1e-5)


def test_training_an_optimised_network_is_refused():
    fast = drnn.optimize(drnn.create_model("dr_resnet_digits")).train()
    with pytest.raises(RuntimeError, match="train the original"):
        fast(torch.ones(2, 1, 8, 8))


def test_the_timed_choice_is_one_of_the_two_formats():
    model = lively(drnn.create_model("dr_resnet_digits"))
    x = pictures(4, (1, 8, 8))
    chosen = faster_format(lambda rows: drnn.optimize(model, channels_last=rows), x, rounds=1)
    assert_equal(chosen(x), model(x))


@pytest.mark.parametrize(("skip_s", "form"), [(1.0, loop_executing), (3.0, loop_dense)])
def test_the_faster_form_is_chosen_and_gives_the_same_answers(skip_s, form, monkeypatch):
    def times(first, second, rounds):
        first(0)
        second(0)
        return PairedTimes((skip_s,) * rounds, (2.0,) * rounds)

    monkeypatch.setattr(sys.modules["drnn.inference.optimize"], "time_pairs", times)
    model, x = lively(drnn.create_model("dr_resnet16_cifar")), pictures(6, (3, 32, 32))
    expected = model(x)
    chosen = {block.evaluation_form for block in choose_form(model, x).modules() if hasattr(block, "num_loops")}
    assert chosen == {form}
    assert_equal(model(x), expected)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler, g++ is not there")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_compiled_network_answers_alike_at_any_batch_size_from_few_graphs():
    torch._dynamo.reset()
    model = lively(drnn.create_model("dr_resnet_digits"))
    compiled = drnn.optimize(model, compile=True)
    before = counters["stats"]["unique_graphs"]
    with torch.inference_mode():
        for images in (1, 2, 5, 9):
            x = pictures(images, model.input_size)
            assert_equal(compiled(x), model(x))
    assert 0 < counters["stats"]["unique_graphs"] - before <= 8  # 2 blocks of 3 loops, 4 batch sizes
    with pytest.raises(RuntimeError, match="optimised network is in training mode"):
        compiled.train()(pictures(2, model.input_size))


@pytest.mark.parametrize("name", ["dr_resnet_digits", "dr_mobilenetv2"])
def test_gates_take_fewer_calls_and_keep_their_dial(name):
    model = small(name)
    fast = drnn.optimize(model)
    assert {type(gate) for gate in gates_of(fast).values()} == {FoldedGate}
    x = pictures(5, model.input_size)
    plain, folded = next(iter(gates_of(model).values())), next(iter(gates_of(fast).values()))
    maps = torch.randn(7, folded.scorer.get_submodule("fc1" if "digits" in name else "fc").in_features, 3, 4)
    assert_equal(folded(maps).margin, plain(maps).margin)
    with OperationCounter() as few, torch.inference_mode():
        folded(maps)
    with OperationCounter() as many, torch.inference_mode():
        plain(maps)
    assert few.count < many.count
    folded.threshold.fill_(0.3)
    assert_equal(folded(maps).deciding_margin, plain(maps).margin - 0.3)
    assert float(plain.threshold) == 0.0
    for gate in gates_of(fast).values():
        gate.threshold.fill_(torch.inf)
    assert fast.forward_with_gates(x)[1].executed.sum() == 0


class OperationCounter(TorchDispatchMode):
    """Calls into torch."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))
