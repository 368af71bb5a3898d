"""Every network by name: shapes, images that it does not take, golden outputs, foreign weights."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torchvision.ops import FrozenBatchNorm2d

from drnn import create_model, list_models, set_dense, target_rate_loss
from drnn.core import Deterministic, RecursiveBlock
from drnn.costs import count_costs
from drnn.inference import optimize
from drnn.models.aig import AdaptiveBlock
from drnn.models.rcnn import RecurrentConv2d
from drnn.models.registry import model_spec
from drnn.models.stochastic_depth import StochasticBlock, survival_at

GOLDEN = Path(__file__).parent / "golden.json"
ALL = list_models()
SMALL = [*list_models("*_cifar"), *list_models("*_digits")]
SLOTS = {
    "dr_resnet16_cifar": 4, "dr_resnet74_cifar": 32, "dr_resnet53": 23, "dr_resnet44": 22, "dr_resnet65": 24,
    "dr_resnet35": 10, "dr_mobilenetv2": 9, "r_resnet53_naive": 23, "aig_resnet50": 16, "resnet50": 0,
}  # fmt: skip


def ramp(count, size):
    """A fixed input without random numbers."""
    return torch.arange(count * size[0] * size[1] * size[2]).float().mul(0.37).sin().view(count, *size) * 2


def scatter_gates(model):
    """Let gates answer differently from image to image."""
    for module in model.modules():
        if isinstance(module, RecursiveBlock | AdaptiveBlock) and hasattr(module.gate, "scorer"):
            for parameter in module.gate.scorer.parameters():
                if parameter.dim() == 2:
                    torch.nn.init.normal_(parameter, std=3)
            torch.nn.init.zeros_(list(module.gate.scorer.parameters())[-1])
    return model


@pytest.mark.parametrize("name", ALL)
def test_every_name_builds_and_has_its_slots(name):
    with torch.device("meta"):
        model = set_dense(create_model(name)).eval()
        logits, record = model.forward_with_gates(torch.empty(2, *model.input_size))
    assert logits.shape == (2, model.num_classes)
    assert (model.name, model.spec) == (name, model_spec(name))
    assert {tuple(part.shape) for part in record} == {(2, record.executed.shape[1])}
    spec = model_spec(name)
    blocks, times = (getattr(spec, field, ()) for field in ("blocks", "loops"))
    loops = sum((count - 1) * each for count, each in zip(blocks, times, strict=False) if each > 1)
    asked = sum(blocks) if getattr(spec, "residual", None) == "aig" else loops
    assert record.executed.shape[1] == SLOTS.get(name, asked) == asked
    assert (record.executed.shape[1] > 0) >= (model.target_rate is not None)


@pytest.mark.parametrize("name", SMALL)
def test_logits_alone_and_with_gates_agree_and_an_empty_batch_works(name):
    torch.manual_seed(0)
    model = create_model(name).eval()
    for module in model.modules():
        if isinstance(module, AdaptiveBlock):
            module.gate.decide = Deterministic()
    x = ramp(2, model.input_size)
    assert torch.equal(model(x), model.forward_with_gates(x)[0])
    assert model(x[:0]).shape == (0, 10)


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_gets_a_gradient(name):
    torch.manual_seed(1)
    model = create_model(name)
    logits, record = model.forward_with_gates(ramp(4, model.input_size))
    loss = logits.square().sum()
    if model.target_rate is not None:
        loss = loss + target_rate_loss(record, model.target_rate)
    loss.backward()
    assert [parameter for parameter, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("name", [*list_models("dr_*_cifar")[:2], "dr_resnet_digits", "aig_resnet110_cifar"])
def test_skipping_equals_masking(name):
    torch.manual_seed(0)
    model = scatter_gates(create_model(name)).eval()
    for module in model.modules():
        if isinstance(module, AdaptiveBlock):
            module.gate.decide = Deterministic()
    x = ramp(6, model.input_size) * torch.linspace(0.2, 3, 6)[:, None, None, None]
    skipped, masked = model.forward_with_gates(x), set_dense(model).forward_with_gates(x)
    torch.testing.assert_close(skipped[0], masked[0], rtol=1e-4, atol=1e-4)
    assert torch.equal(skipped[1].executed, masked[1].executed)
    assert 0 < skipped[1].executed.float().mean() < 1


def test_golden_outputs(request):
    found = {}
    for name in SMALL:
        torch.manual_seed(0)
        model = create_model(name).eval()
        torch.manual_seed(0)
        with torch.no_grad():
            found[name] = [round(v, 6) for v in model(ramp(1, model.input_size))[0, :4].tolist()]
    if request.config.getoption("--rewrite-golden"):
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    assert found.keys() == json.loads(GOLDEN.read_text()).keys()
    for name, expected in json.loads(GOLDEN.read_text()).items():
        assert found[name] == pytest.approx(expected, rel=2e-3, abs=1e-4), name


def test_torchvision_weights_load_and_give_the_same_logits():
    torch.manual_seed(0)
    theirs = torchvision.models.resnet50(weights=None).eval()
    ours = create_model("resnet50", stride_in_3x3=True).eval()
    ours.load_state_dict(theirs.state_dict())
    x = ramp(2, (3, 64, 64))
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)
    with torch.device("meta"):
        deep = torchvision.models.resnet101(weights=None).state_dict()
        assert {k: v.shape for k, v in create_model("resnet101").state_dict().items()} == {
            k: v.shape for k, v in deep.items()
        }


@pytest.mark.parametrize("wrong", [(3, 32, 32), (2, 1, 32, 32), (2, 3)])
def test_wrong_input_is_named(wrong):
    with pytest.raises(ValueError, match=r"resnet20_cifar received .* it takes float \(N, 3, H, W\)"):
        create_model("resnet20_cifar")(torch.zeros(wrong))
    with pytest.raises(ValueError, match=r"torch\.uint8"):
        create_model("resnet20_cifar")(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


@pytest.mark.parametrize("wrong", [np.zeros((2, 3, 32, 32), np.float32), None], ids=["array", "none"])
def test_what_is_no_tensor_is_named(wrong):
    with pytest.raises(TypeError, match=rf"resnet20_cifar received {type(wrong).__name__}; it takes a tensor"):
        create_model("resnet20_cifar")(wrong)


@pytest.mark.parametrize(
    ("network", "given"),
    [(torch.bfloat16, torch.float32), (torch.float32, torch.float64), (torch.float64, torch.float32)],
)
@pytest.mark.parametrize("optimised", [False, True])
def test_images_of_another_dtype_are_named_with_the_cast_to_make(network, given, optimised):
    model = create_model("dr_resnet_digits").eval()
    model = (optimize(model) if optimised else model).to(network)  # the last dtype counts, wherever weights are kept
    x = torch.zeros(2, 1, 8, 8)
    message = rf"dr_resnet_digits received images of {given}; its weights are {network}\. Convert with x\.to\({network}"
    for call in (model, model.forward_with_gates):
        with pytest.raises(ValueError, match=message):
            call(x.to(given))
    assert model(x.to(network)).dtype == network


def test_autocast_takes_images_of_another_dtype():
    model, x = create_model("resnet_digits").eval(), torch.zeros(2, 1, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(x.bfloat16()).dtype == torch.bfloat16


def test_a_network_with_layers_of_its_own_needs_no_dtype():
    model = create_model("resnet_digits").eval()
    model.conv1 = torch.nn.Sequential(model.conv1)
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_a_dropped_branch_is_not_computed_and_its_parameters_still_get_a_gradient():
    block = create_model("sd_resnet110_cifar").layer1[0]
    assert isinstance(block, StochasticBlock)
    assert [survival_at(i, 4) for i in range(4)] == [0.875, 0.75, 0.625, 0.5]
    calls = []
    block.body.conv1.register_forward_hook(lambda *_: calls.append(1))
    x = ramp(2, (16, 8, 8))
    block.survival = 1e-9
    y = block(x)
    assert calls == []
    torch.testing.assert_close(y, torch.relu(x))
    y.sum().backward()
    assert all(torch.equal(p.grad, torch.zeros_like(p)) for p in block.parameters())
    block.survival = 0.25
    torch.testing.assert_close(block.eval()(x), torch.relu(x + 0.25 * block.body.branch(x)))


def test_rcnn_keeps_the_size_it_is_made_for():
    model = create_model("rcnn160_cifar", input_size=(1, 8, 12))
    assert model.input_size == (1, 8, 12)
    assert model.eval()(torch.zeros(2, 1, 8, 12)).shape == (2, 10)


def test_rcnn_unrolls_three_times_after_the_first():
    layer = RecurrentConv2d(8)
    calls = []
    layer.recurrent.register_forward_hook(lambda *_: calls.append(1))
    layer(ramp(1, (8, 4, 4)))
    assert len(calls) == 3


def test_the_training_form_is_traced_for_free_sizes():
    model = set_dense(create_model("dr_resnet_digits")).train()
    auto = torch.export.Dim.AUTO
    program = torch.export.export(
        model, (torch.randn(4, 1, 8, 8),), dynamic_shapes=({0: auto, 2: auto, 3: auto},), strict=False
    )
    assert any("lerp" in str(node.target) for node in program.graph.nodes)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # by the compiler of torch 2.11
@pytest.mark.parametrize("training", [True, False])
def test_the_dense_form_is_one_graph_without_breaks(training):
    torch.manual_seed(0)
    model = set_dense(create_model("dr_resnet_digits")).train(training)
    x = ramp(3, model.input_size)
    torch._dynamo.reset()
    traced = torch.compile(copy.deepcopy(model), backend="eager", fullgraph=True)
    torch.testing.assert_close(traced(x), model(x))


@pytest.mark.parametrize("name", ["dr_resnet_digits", "dr_mobilenetv2", "resnet_digits", "aig_resnet110_cifar"])
@pytest.mark.parametrize("replaced", [torch.nn.SyncBatchNorm, FrozenBatchNorm2d])
def test_norms_may_be_synchronised_or_frozen_by_what_torch_and_torchvision_have_for_it(name, replaced):
    """Those know no loops. So do timm's for fine-tuning."""
    model = create_model(name).eval()
    x = ramp(2, model.input_size)
    with torch.no_grad():
        torch.manual_seed(0)  # for the gates that draw lots
        expected = model(x)
        for parent in list(model.modules()):
            for child, norm in list(parent.named_children()):
                if isinstance(norm, torch.nn.BatchNorm2d):
                    made = replaced(norm.num_features).eval()
                    made.load_state_dict(norm.state_dict(), strict=False)  # ours have the statistics of leavers, too
                    setattr(parent, child, made)
        torch.manual_seed(0)
        torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4)
        assert count_costs(model) == count_costs(create_model(name))
        assert count_costs(model, counting="paper") == count_costs(create_model(name), counting="paper")
        if name != "aig_resnet110_cifar":
            torch.testing.assert_close(optimize(model)(x), expected, rtol=1e-4, atol=1e-4)
