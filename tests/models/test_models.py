"""Every network by name: shapes, errors, golden outputs, foreign weights."""

import copy
import json
import re
from pathlib import Path

import pytest
import torch
import torchvision

from drnn import create_model, list_models, set_dense, target_rate_loss
from drnn.core import Deterministic, RecursiveBlock
from drnn.inference import optimize
from drnn.models.aig import AdaptiveBlock
from drnn.models.mobilenetv2 import MobileNetV2Spec
from drnn.models.rcnn import RecurrentConv2d
from drnn.models.registry import model_spec, spec_for
from drnn.models.resnet import ResNetSpec
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
    assert record.executed.shape[1] == SLOTS.get(name, record.executed.shape[1])
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


def test_unknown_names_and_fields_answer_with_what_there_is():
    with pytest.raises(ValueError, match="did you mean dr_resnet53"):
        create_model("dr_resnt53")
    with pytest.raises(ValueError, match=r"no field widht; its fields are .*width"):
        create_model("resnet20_cifar", widht=8)
    with pytest.raises(ValueError, match="norm 'batch' received; choose one of 'shared', 'lvbn', 'ilvbn'"):
        create_model("dr_resnet16_cifar", norm="batch")
    with pytest.raises(ValueError, match="give one of each"):
        create_model("resnet20_cifar", loops=(1, 2))


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("resnet20_cifar", {"blocks": 3}, "blocks 3 received; give whole numbers, 1 or more"),
        ("resnet20_cifar", {"blocks": []}, r"blocks \(\) received; give whole numbers, 1 or more"),
        ("resnet20_cifar", {"blocks": (3, 3.0, 3)}, "blocks .* received; give whole numbers"),
        ("dr_mobilenetv2", {"loops": [0] * 7}, "loops .* received; give whole numbers, 1 or more"),
        ("resnet20_cifar", {"num_classes": 0}, "num_classes 0 received; give a whole number, 1 or more"),
        ("resnet20_cifar", {"num_classes": "10"}, "num_classes '10' received; give a whole number"),
        ("rcnn160_cifar", {"width": True}, "width True received; give a whole number"),
        ("resnet20_cifar", {"in_chans": 0}, r"input_size \(0, 32, 32\) received; give whole numbers"),
        ("resnet20_cifar", {"in_chans": 1, "input_size": 32}, "input_size 32 received; give whole numbers"),
        ("resnet20_cifar", {"input_size": (3, 32)}, r"input_size \(3, 32\) received; give \(C, H, W\)"),
        ("preresnet110_cifar", {"residual": "stochastic"}, "residual 'stochastic' received for the body 'preact'"),
        ("aig_resnet110_cifar", {"body": "preact"}, "residual 'aig' received for the body 'preact'"),
        ("dr_resnet53", {"target_rate": 1.5}, "target_rate 1.5 received; a rate lies between 0 and 1"),
        ("dr_resnet53", {"target_rate": "half"}, "target_rate 'half' received; a rate lies"),
        ("dr_resnet53", {"target_rate": 0.5, "gate": None}, "target_rate 0.5 received; this dr_resnet53 has no gates"),
        ("dr_mobilenetv2", {"target_rate": 0.5, "loops": [1] * 7}, "target_rate 0.5 received; this dr_mobilenetv2 has"),
        ("mobilenetv2", {"target_rate": 0.5, "loops": [2, 1, 1, 1, 1, 1, 1]}, "target_rate 0.5 received"),
        ("resnet20_cifar", {"target_rate": 0.5}, "target_rate 0.5 received; this resnet20_cifar has no gates"),
        ("resnet20_cifar", {"norm": "ilvbn"}, "norm 'ilvbn' received; no block of this resnet20_cifar loops"),
        ("resnet20_cifar", {"gate": "linear"}, "gate 'linear' received; no block of this resnet20_cifar loops"),
        ("mobilenetv2", {"gate_noise": "none"}, "gate_noise 'none' received; no block of this mobilenetv2 loops"),
        ("r_resnet53_lvbn", {"gate_noise": "training"}, "gate_noise 'training' received; this r_resnet53_lvbn has no"),
        ("dr_resnet16_cifar", {"gate": None, "gate_noise": "always"}, "gate_noise 'always' received; this dr_resnet16"),
        ("aig_resnet50", {"gate_noise": "training"}, "gate_noise 'training' received; no block of this aig_resnet50"),
        ("dr_resnet53", {"norm": "lvbn", "loops": [1] * 4}, "norm 'lvbn' received; no block of this dr_resnet53"),
    ],
)
def test_values_that_do_not_fit_are_refused(name, overrides, message):
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        create_model(name, **overrides)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("resnet20_cifar", {"norm": "nonsense"}, "norm 'nonsense' received; choose one of 'shared', 'lvbn', 'ilvbn'"),
        ("resnet20_cifar", {"gate": "nonsense"}, "gate 'nonsense' received; choose one of 'hidden', 'linear', None"),
        ("resnet20_cifar", {"gate_noise": "on"}, "gate_noise 'on' received; choose one of 'none', 'training'"),
        ("dr_resnet16_cifar", {"gate": None, "gate_noise": "on", "target_rate": None}, "gate_noise 'on' received"),
        ("r_resnet53_naive", {"gate_noise": None}, "gate_noise None received"),
        ("mobilenetv2", {"norm": "nonsense"}, "norm 'nonsense' received; choose one of"),
        ("mobilenetv2", {"gate": "nonsense"}, "gate 'nonsense' received; choose one of"),
        ("mobilenetv2", {"gate_noise": "nonsense"}, "gate_noise 'nonsense' received; choose one of"),
        ("resnet20_cifar", {"body": "big"}, "body 'big' received; choose one of 'basic', 'bottleneck', 'preact'"),
        ("resnet20_cifar", {"stem": "big"}, "stem 'big' received; choose one of 'cifar', 'imagenet'"),
        ("resnet20_cifar", {"residual": "x"}, "residual 'x' received; choose one of 'plain', 'stochastic', 'aig'"),
        ("preresnet110_cifar", {"residual": "x"}, "residual 'x' received; choose one of"),
        ("dr_resnet16_cifar", {"norm": {"lvbn": 1}}, "norm {'lvbn': 1} received; choose one of"),
    ],
)
def test_a_part_that_is_not_there_is_refused_wherever_it_would_stand(name, overrides, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        spec_for(name, **overrides)
    with pytest.raises(ValueError, match=re.escape(message)), torch.device("meta"):
        create_model(name, **overrides)


def test_a_specification_without_stages_is_refused():
    for spec, message in ((ResNetSpec, "give one of each"), (MobileNetV2Spec, "give 7 of each")):
        for shape in ({"blocks": ()}, {"blocks": (), "loops": ()}, {"blocks": (1,) * 7, "loops": (0,) * 7}):
            with pytest.raises(ValueError, match=message):
                spec(**shape)


@pytest.mark.parametrize(
    ("name", "overrides", "rate"),
    [
        ("dr_resnet53", {"gate": None}, None),
        ("dr_resnet53", {"loops": [1, 1, 1, 1]}, None),
        ("dr_mobilenetv2", {"gate": None}, None),
        ("dr_resnet53", {"gate": "linear"}, 0.7),
        ("dr_resnet53", {"target_rate": None}, None),
        ("resnet20_cifar", {"loops": [1, 1, 2], "target_rate": 1}, 1),
        ("resnet20_cifar", {"residual": "aig", "target_rate": 0.5}, 0.5),
    ],
)
def test_only_gates_have_a_target_rate(name, overrides, rate):
    with torch.device("meta"):
        assert create_model(name, **overrides).target_rate == rate


def test_lists_are_taken_for_tuples():
    with torch.device("meta"):
        model = create_model("resnet20_cifar", blocks=[1, 2, 1], loops=[1, 2, 1], input_size=[1, 16, 16])
    assert (model.spec.blocks, model.spec.loops, model.input_size) == ((1, 2, 1), (1, 2, 1), (1, 16, 16))
    with torch.device("meta"):
        assert create_model("rcnn160_cifar", input_size=[1, 16, 16]).input_size == (1, 16, 16)


@pytest.mark.parametrize("wrong", [(3, 32, 32), (2, 1, 32, 32), (2, 3)])
def test_wrong_input_is_named(wrong):
    with pytest.raises(ValueError, match=r"resnet20_cifar received .* it takes float \(N, 3, H, W\)"):
        create_model("resnet20_cifar")(torch.zeros(wrong))
    with pytest.raises(ValueError, match=r"torch\.uint8"):
        create_model("resnet20_cifar")(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


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


def test_classes_and_channels_can_be_chosen():
    model = create_model("dr_mobilenetv2", num_classes=7, in_chans=1).eval()
    assert model(torch.zeros(1, 1, 64, 64)).shape == (1, 7)


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
