"""The deployment form equals the plain model in every answer, whatever the network, batch and memory format."""

import copy
import shutil

import pytest
import safetensors.torch
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._dynamo.utils import counters

import drnn
from drnn.core import gates_of

from .networks import assert_equal, lively, pictures, small

KINDS = [
    "resnet20_cifar", "dr_resnet16_cifar", "dr_resnet32_cifar", "resnet_digits", "dr_resnet_digits", "mobilenetv2",
    "dr_mobilenetv2", "dr_resnet35", "resnet50", "r_resnet53_naive", "aig_resnet50", "sd_resnet50", "rcnn160_cifar",
    "preresnet110_cifar",
]  # fmt: skip
WAYS = {"plain": {"fuse": False, "channels_last": False}, "fused": {}, "fused, nchw": {"channels_last": False}}


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


def test_training_an_optimised_network_is_refused():
    fast = drnn.optimize(drnn.create_model("dr_resnet_digits")).train()
    with pytest.raises(RuntimeError, match="train the original"):
        fast(torch.ones(2, 1, 8, 8))


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
