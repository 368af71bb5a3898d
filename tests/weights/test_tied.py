"""Recursive networks that begin from a static one's weights."""

import logging
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from drnn.core import RecursiveBlock
from drnn.models import Preprocessing, create_model
from drnn.models.blocks import BasicBlock, Bottleneck, InvertedResidual, PreActivationBlock, hidden_channels_of
from drnn.training import find_recipe, train
from drnn.training.beginning import begin_from
from drnn.weights import load_static
from drnn.weights.files import WEIGHTS
from drnn.weights.matching import matched


def shaken(model):
    """Every entry of its state its own, as after training."""
    torch.manual_seed(0)
    for name, value in model.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif value.is_floating_point():
            value.copy_(torch.randn_like(value) * 0.3 + (1 if "bn" in name and name.endswith("weight") else 0))
        else:
            value.fill_(7)
    return model.eval()


def unlike(block: torch.nn.Module, hidden: int, layers: tuple[str, ...], reads: str) -> dict[str, torch.Tensor]:
    """The state of a block with its hidden channels in another order."""
    order = torch.randperm(hidden, generator=torch.Generator().manual_seed(1))
    state = {name: value.clone() for name, value in block.state_dict().items()}
    for name, value in state.items():
        if name.split(".")[0] in layers and value.dim():
            state[name] = value[order]
        elif name == f"{reads}.weight":
            state[name] = value[:, order]
    return state


@pytest.mark.parametrize(
    ("block", "hidden", "layers", "reads"),
    [
        (BasicBlock(6, 6), 6, ("conv1", "bn1"), "conv2"),
        (Bottleneck(24, 6), 6, ("conv1", "bn1"), "conv2"),
        (Bottleneck(24, 6), 6, ("conv2", "bn2"), "conv3"),
        (InvertedResidual(4, 4), 24, ("conv1", "bn1", "conv2", "bn2"), "conv3"),
        (PreActivationBlock(6, 6), 6, ("conv1", "bn2"), "conv2"),
    ],
)
def test_a_block_with_its_hidden_channels_in_another_order_is_the_same_and_found_to_be(block, hidden, layers, reads):
    shaken(block)
    own = {name: value.clone() for name, value in block.state_dict().items()}
    other = unlike(block, hidden, layers, reads)
    x = torch.randn(2, block.conv1.in_channels, 5, 5)
    before = block(x)
    block.load_state_dict(other)
    torch.testing.assert_close(block(x), before)
    assert not all(torch.equal(own[name], value) for name, value in other.items())
    block.load_state_dict(own)
    first, second, third = matched([own, other, other], block.hidden)
    for made in (second, third):
        torch.testing.assert_close(made, own, rtol=0, atol=0)
    assert first.keys() == own.keys()


def test_matching_changes_no_block_and_ends_with_channels_that_are_more_alike():
    torch.manual_seed(0)
    blocks = [shaken_block(number) for number in range(4)]
    states = [{name: value.clone() for name, value in block.state_dict().items()} for block in blocks]
    made = matched(states, Bottleneck.hidden)
    x = torch.randn(2, 24, 5, 5)
    for block, state in zip(blocks, made, strict=True):
        before = block(x)
        block.load_state_dict(state)
        torch.testing.assert_close(block(x), before)
    assert likeness(made) > 1.2 * abs(likeness(states))


def shaken_block(number):
    block = shaken(Bottleneck(24, 6))
    for parameter in block.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    if number % 2:
        block.load_state_dict(unlike(block, 6, ("conv2", "bn2"), "conv3"))
    return block


def likeness(states):
    flat = [torch.cat([state[f"conv{n}.weight"].flatten() for n in (1, 2, 3)]) for state in states]
    return float(sum(a @ b for i, a in enumerate(flat) for b in flat[:i]))


def test_blocks_without_hidden_channels_are_left_as_they_are():
    states = [shaken(InvertedResidual(4, 4, expand=1)).state_dict() for _ in range(2)]
    states[1]["conv3.weight"] = states[1]["conv3.weight"].flip(1)
    for made, state in zip(matched(states, InvertedResidual.hidden), states, strict=True):
        torch.testing.assert_close(made, dict(state), rtol=0, atol=0)


@pytest.mark.parametrize("norm", ["ilvbn", "lvbn", "shared"])
def test_a_network_of_equal_blocks_computes_what_the_static_one_does(norm):
    static = shaken(create_model("resnet20_cifar"))
    for stage in (static.layer2, static.layer3):
        stage[2].load_state_dict(stage[1].state_dict())
    model = load_static(create_model("dr_resnet16_cifar", norm=norm), static).eval()
    for block in model.modules():
        if isinstance(block, RecursiveBlock):
            block.gate.threshold.fill_(-float("inf"))  # every loop
    x = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(model(x), static(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", ["ilvbn", "lvbn"])
def test_each_loop_has_the_norms_of_its_block_in_the_order_of_the_first(norm):
    static = shaken(create_model("resnet20_cifar"))
    model = load_static(create_model("dr_resnet16_cifar", norm=norm), static)
    first, second = static.layer2[1], static.layer2[2]
    norms = model.layer2[1].body.bn1.loops
    assert torch.equal(norms[0].weight, first.bn1.weight)
    assert torch.equal(norms[1].weight.sort().values, second.bn1.weight.sort().values)
    assert torch.equal(model.layer2[1].body.bn2.loops[1].running_var, second.bn2.running_var)
    assert int(norms[1].num_batches_tracked) == 7
    if norm == "ilvbn":
        assert torch.equal(norms[0].skipped_mean, first.bn1.running_mean)


@pytest.mark.parametrize(
    ("name", "static", "stage", "numbers"),
    [
        ("dr_resnet74_cifar", "resnet110_cifar", "layer2", [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17]),
        ("dr_resnet66_cifar", "resnet110_cifar", "layer3", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, *range(10, 18)]),
        ("dr_mobilenetv2", "mobilenetv2", "layer4", [0, 1, 2, 3]),
    ],
)
def test_loops_are_spread_over_the_blocks_of_a_stage(name, static, stage, numbers):
    small = {"input_size": (3, 8, 8)}
    static = create_model(static, **small)
    for number, block in enumerate(static.get_submodule(stage)):
        block.get_submodule(block.branch_end).weight.data.fill_(number)
    model = load_static(create_model(name, **small), static)
    found = []
    for block in model.get_submodule(stage):
        last = getattr(block, "body", block).get_submodule(getattr(block, "body", block).branch_end)
        found += [float(norm.weight.detach()[0]) for norm in getattr(last, "loops", [last])]
    assert found == numbers


def test_gates_and_the_static_network_stay_as_they_were():
    static, model = shaken(create_model("resnet20_cifar")), create_model("dr_resnet16_cifar")
    before = [{name: value.clone() for name, value in network.state_dict().items()} for network in (static, model)]
    load_static(model, static)
    torch.testing.assert_close(dict(static.state_dict()), before[0], rtol=0, atol=0)
    gates = {name: value for name, value in model.state_dict().items() if ".gate." in name}
    assert gates
    torch.testing.assert_close(gates, {name: before[1][name] for name in gates}, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "static", "fields", "says"),
    [
        ("dr_resnet16_cifar", "dr_resnet16_cifar", {}, "give a network with recursive blocks, and a static one"),
        ("resnet20_cifar", "resnet20_cifar", {}, "give a network with recursive blocks, and a static one"),
        ("dr_resnet16_cifar", "resnet20_cifar", {"num_classes": 3}, "2 entries differ .*fc.weight"),
        ("dr_resnet16_cifar", "resnet110_cifar", {}, r"does not fit dr_resnet16_cifar: .*layer1\.1[0-7]"),
        ("dr_resnet16_cifar", "preresnet110_cifar", {}, "does not fit dr_resnet16_cifar"),
        ("dr_resnet16_cifar", "resnet20_cifar", {"blocks": (3, 1, 3)}, r"does not fit .*layer2\.1\.body"),
        ("dr_resnet35", "resnet50", {"stride_in_3x3": True}, r"layer2\.0\.conv1 .* compute otherwise; .*stride_in_3x3"),
    ],
)
def test_a_static_network_that_does_not_fit_is_refused(name, static, fields, says):
    model = create_model(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=says):
        load_static(model, create_model(static, **fields))
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)


def test_blocks_that_are_not_alike_are_refused(tmp_path):
    state = create_model("resnet20_cifar").state_dict()
    save_file({**state, "layer2.2.conv1.weight": torch.zeros(16, 32, 3, 3)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"does not fit dr_resnet16_cifar: .*layer2\.1\.body"):
        begin_from(create_model("dr_resnet16_cifar"), str(tmp_path / "a.safetensors"))


def test_norms_of_another_eps_are_refused():
    static = create_model("resnet20_cifar")
    static.layer3[2].bn2.eps = 0.1
    with pytest.raises(ValueError, match=r"layer3\.1\.body\.bn2 \(eps=1e-05\) and layer3\.2\.bn2 .* \(eps=0\.1\)"):
        load_static(create_model("dr_resnet16_cifar"), static)


def test_weights_that_are_no_numbers_are_refused():
    static = create_model("resnet20_cifar")
    static.layer3[2].conv2.weight.data[0] = torch.nan
    with pytest.raises(ValueError, match="weights of conv1, bn1, conv2 that are not finite received"):
        load_static(create_model("dr_resnet16_cifar"), static)


class Wider(BasicBlock):
    """Another layer may read the hidden channels, so their order is not free."""


class Named(BasicBlock):
    hidden = 16


def test_only_a_class_that_says_so_itself_has_channels_in_any_order():
    assert hidden_channels_of(BasicBlock(4, 4)) == BasicBlock.hidden
    assert hidden_channels_of(Wider(4, 4)) == hidden_channels_of(Named(4, 4)) == ()


def test_a_static_block_with_more_layers_than_the_body_is_refused(tmp_path):
    state = create_model("resnet20_cifar").state_dict()
    extra = {f"layer2.{number}.se.weight": torch.zeros(2) for number in range(3)}
    save_file({**state, **extra}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"layer2\.1\.body\.se\.weight"):
        begin_from(create_model("dr_resnet16_cifar"), str(tmp_path / "a.safetensors"))


def test_a_run_begins_from_a_static_network_with_gates_and_a_last_layer_of_its_own(tmp_path, caplog):
    short = replace(find_recipe("digits"), epochs=1, train_images=300, warmup_epochs=0, threads=1, device="cpu")
    train(replace(short, model="resnet_digits", target_rate=None), tmp_path / "static", progress=False)
    still = replace(short, lr=1e-12, name="still", initial_weights=str(tmp_path / "static"))
    with caplog.at_level(logging.INFO, logger="drnn"):
        train(still, tmp_path / "run", progress=False)
    said = [record.message for record in caplog.records]
    assert any("is of a static network: each loop begins as one of its blocks" in message for message in said)
    assert any("layer2.1.gate.scorer.fc1" in message for message in said if "begin fresh" in message)
    static, made = (load_file(tmp_path / folder / WEIGHTS) for folder in ("static", "run"))
    torch.testing.assert_close(made["layer2.1.body.bn2.loops.2.weight"], static["layer2.3.bn2.weight"])
    model = create_model("dr_resnet_digits", num_classes=4)
    assert "fc" in begin_from(model, str(tmp_path / "static")).fresh


def test_what_images_went_through_comes_along_with_the_weights():
    static, model = create_model("resnet_digits"), create_model("dr_resnet_digits")
    load_static(model, static)
    assert (model.preprocessing, model.classes) == (None, ())
    static.preprocessing = Preprocessing((1, 8, 8), (0.1,), (0.9,))
    static.classes = tuple("abcdefghij")
    load_static(model, static)
    assert (model.preprocessing, model.classes) == (static.preprocessing, static.classes)
