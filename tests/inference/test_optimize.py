"""The deployment form equals the plain model in every answer, whatever the network, batch and memory format."""

import copy
import shutil
import sys
from functools import partial

import pytest
import safetensors.torch
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._dynamo.utils import counters

import drnn
from drnn.core import LVBN2d, gates_of
from drnn.inference import fold
from drnn.inference.copied_conv import CopiedConv2d
from drnn.inference.folded_conv import FoldedConv2d
from drnn.inference.folded_gate import FoldedGate
from drnn.inference.laid_out import can_fuse
from drnn.inference.optimize import fastest
from drnn.timing import PairedTimes

from .networks import OperationCounter, lively, pictures

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
                    got = CopiedConv2d(conv, norm, fuse and can_fuse())(x, loop, activation, residual)
                torch.testing.assert_close(got, total, rtol=1e-5, atol=1e-5)


def test_training_an_optimised_network_is_refused():
    fast = drnn.optimize(drnn.create_model("dr_resnet_digits")).train()
    with pytest.raises(RuntimeError, match="train the original"):
        fast(torch.ones(2, 1, 8, 8))


@pytest.mark.parametrize(("ratios", "kept"), [((0.5, 0.5), 0), ((2.0, 0.5), 1), ((2.0, 2.0), 2), ((0.5, 2.0), 2)])
def test_the_fastest_of_several_is_kept(ratios, kept, monkeypatch):
    measured = iter(ratios)
    monkeypatch.setattr(
        sys.modules["drnn.inference.optimize"], "time_pairs",
        lambda first, second, rounds, device: PairedTimes((next(measured),) * rounds, (1.0,) * rounds),
    )  # fmt: skip
    networks = [drnn.create_model("dr_resnet_digits").eval() for _ in range(3)]
    assert fastest([partial(networks.__getitem__, i) for i in range(3)], torch.ones(1, 1, 8, 8)) is networks[kept]


@pytest.mark.skipif(not can_fuse(), reason="this torch has no fused kernels")
@pytest.mark.parametrize(
    ("options", "timed"),
    [
        ({}, {(True, True), (True, False), (False, True), (False, False)}),
        ({"fuse": True}, {(True, True), (False, True)}),
        ({"channels_last": False}, {(False, True), (False, False)}),
        ({"channels_last": True, "fuse": False}, set()),
    ],
)
def test_an_example_decides_what_is_left_open(options, timed):
    """Every form that the options leave open runs on the example, and the one that is kept answers alike."""
    model, x, ran = lively(drnn.create_model("dr_resnet_digits")), pictures(4, (1, 8, 8)), set()

    def note(module, arguments, answer):
        if isinstance(module, FoldedConv2d) and module.weight0.shape[1:3] == (32, 3):  # there the format shows
            ran.add((module.weight0.is_contiguous(memory_format=torch.channels_last), module.fuse))

    with torch.nn.modules.module.register_module_forward_hook(note):
        fast = drnn.optimize(model, x, **options)
    assert ran == timed
    assert len({module.fuse for module in fast.modules() if isinstance(module, FoldedConv2d)}) == 1
    assert_equal(fast(x), model(x))


def test_without_an_example_kernels_are_fused_where_torch_has_them(monkeypatch):
    x = torch.randn(2, 1, 8, 8)
    for has in (can_fuse(), False):
        monkeypatch.setattr("drnn.inference.folded_conv.can_fuse", lambda has=has: has)
        for options, fused in (({}, has), ({"fuse": False}, False)):
            fast = drnn.optimize(drnn.create_model("dr_resnet_digits"), **options)
            with torch.inference_mode():
                fast(x)
            laid_out = {len(module._laid_out) > 0 for module in fast.modules() if isinstance(module, FoldedConv2d)}
            assert (True in laid_out) is fused


def test_a_compiler_is_not_led_to_what_it_cannot_trace(monkeypatch):
    monkeypatch.setattr("torch.compiler.is_compiling", lambda: True)
    monkeypatch.setattr("drnn.inference.folded_conv.has_fused_cudnn", lambda x: 1 / 0)
    conv, norm = torch.nn.Conv2d(4, 4, 1), torch.nn.BatchNorm2d(4).eval()
    y = CopiedConv2d(conv, norm)(torch.ones(1, 4, 2, 2), 0, "relu", torch.ones(1, 4, 2, 2))
    assert y.shape == (1, 4, 2, 2)


@pytest.mark.parametrize("name", ["dr_resnet_digits", "dr_mobilenetv2", "aig_resnet110_cifar"])
def test_its_state_has_the_thresholds_and_every_tensor_once(name):
    model, other = drnn.create_model(name).eval(), drnn.create_model(name).eval()
    for number, gate in enumerate(gates_of(model).values()):
        gate.threshold.fill_(0.1 + number)
    fast, fresh = drnn.optimize(model), drnn.optimize(other)
    state = fast.state_dict()
    memory = [tensor.untyped_storage().data_ptr() for tensor in state.values() if tensor.numel()]
    assert len(memory) == len(set(memory))
    written = safetensors.torch.save({key: tensor.contiguous() for key, tensor in state.items()})
    fresh.load_state_dict(safetensors.torch.load(written))
    assert [gate.threshold for gate in gates_of(fresh).values()] == [
        gate.threshold for gate in gates_of(model).values()
    ]
    x = pictures(2, model.input_size)
    if not name.startswith("aig"):  # whose gates draw lots
        assert_equal(fresh(x), fast(x))


@pytest.mark.parametrize("name", ["resnet20_cifar", "dr_resnet16_cifar", "preresnet110_cifar"])
def test_autocast_reaches_an_optimised_network(name):
    model, x = small(name), pictures(4, (3, 32, 32))
    fast, seen = drnn.optimize(model), []
    for network in (model, fast):
        network.layer1[0].register_forward_hook(lambda module, given, answer: seen.append(answer.dtype))
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            network(x)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("fails", ["cudnn", "caller"])
def test_a_gpu_without_the_fused_kernel_takes_plain_calls_from_then_on(fails, monkeypatch):
    """What cuDNN has depends on its version and the GPU; a mistake in a call says nothing of that."""
    asked = []

    def has_none(*given):
        asked.append(given)
        raise RuntimeError("no engine")

    monkeypatch.setattr(torch, "cudnn_convolution_add_relu", has_none)
    monkeypatch.setattr(FoldedConv2d, "_can_fuse", lambda self, x: False)
    monkeypatch.setattr(FoldedConv2d, "_can_fuse_on_gpu", lambda self, x: self._fits_cudnn)
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
    "other", [torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1)), torchvision.models.resnet18(), "digits"]
)
def test_other_networks_are_refused(other):
    with pytest.raises(TypeError, match=rf"{type(other).__name__} received; optimize takes networks of drnn\.models"):
        drnn.optimize(other)


def test_an_optimised_network_is_not_optimised_again():
    with pytest.raises(ValueError, match="dr_resnet_digits is optimised already; optimize the network it was made of"):
        drnn.optimize(drnn.optimize(drnn.create_model("dr_resnet_digits")))


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
    maps = torch.randn(7, plain.scorer.get_submodule("fc1" if "digits" in name else "fc").in_features, 3, 4)
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
