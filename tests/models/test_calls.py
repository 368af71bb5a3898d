"""Every part of a network is called as a module, so hooks, wrappers and compilers of parts work; records come along."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import drnn
from drnn.core import target_rate_loss
from drnn.export import export_onnx
from drnn.models.classifier import GATED

NAMES = ["dr_resnet16_cifar", "aig_resnet110_cifar", "resnet20_cifar", "preresnet110_cifar", "dr_mobilenetv2"]
WAYS = [lambda model, x: model(x), lambda model, x: model.forward_with_gates(x)[0]]


def network(name="dr_resnet16_cifar", seed=0):
    torch.manual_seed(seed)
    model = drnn.create_model(name).eval()
    for block in model.modules():
        if isinstance(block, GATED):
            nn.init.normal_(list(block.gate.parameters())[-2], std=3.0)
    return model


def images(model, count=4):
    return torch.randn(count, *model.input_size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", WAYS)
def test_hooks_on_stages_are_called_once(name, way):
    model, seen = network(name), []
    stages = [child for child_name, child in model.named_children() if child_name.startswith("layer")]
    for stage in stages:
        stage.register_forward_pre_hook(lambda module, given: seen.append(("before", module)))
        stage.register_forward_hook(lambda module, given, found: seen.append(("after", module)))
    with torch.no_grad():
        way(model, images(model, 1))
    assert seen == [(when, stage) for stage in stages for when in ("before", "after")]


def test_hooks_on_stages_are_called_for_features_of_timm_as_well():
    timm, seen = pytest.importorskip("timm"), []
    model = timm.create_model("dr_resnet16_cifar").eval()
    model.layer3.register_forward_hook(lambda *given: seen.append(1))
    for call in (model, model.forward_features, model.forward_intermediates):
        call(torch.randn(2, 3, 32, 32))
    assert len(seen) == 3


@pytest.mark.parametrize("way", WAYS)
def test_what_a_hook_on_a_block_gives_counts_for_records_too(way):
    model = network()
    x = images(model)
    plain = way(model, x)
    handle = model.layer3[1].register_forward_hook(lambda module, given, found: found * 0)
    assert torch.equal(way(model, x), model.fc(torch.zeros(len(x), model.fc.in_features)))
    handle.remove()
    assert torch.equal(way(model, x), plain)


def in_a_row(model):
    model.layer3 = nn.Sequential(nn.Sequential(model.layer3, nn.Dropout(0.1)), nn.Identity()).train(model.training)


def compiled(model):
    model.layer3 = torch.compile(model.layer3, backend="eager")


@pytest.mark.parametrize("wrap", [in_a_row, compiled])
@torch.no_grad()
def test_a_wrapped_stage_keeps_its_gates_in_the_record(wrap):
    model = drnn.models.set_dense(network())
    x = images(model)
    expected = model.forward_with_gates(x)
    wrap(model)
    logits, record = model.forward_with_gates(x)
    assert torch.equal(logits, expected[0])
    for there, due in zip(record, expected[1], strict=True):
        torch.testing.assert_close(there, due)
    assert drnn.costs.count_costs(model).macs_per_image(record).shape == (len(x),)


def test_a_wrapped_stage_learns_its_rate():
    model = drnn.models.set_dense(network()).train()
    in_a_row(model)
    target_rate_loss(model.forward_with_gates(images(model, 8))[1], 0.1).backward()
    assert [gate.scorer.fc2.bias.grad is not None for gate in drnn.core.gates_of(model).values()] == [True, True]


def test_stages_in_rows_are_exported_and_optimised(tmp_path):
    model = network()
    x = images(model)
    expected, record = model.forward_with_gates(x)
    in_a_row(model)
    torch.testing.assert_close(drnn.optimize(model)(x), expected, rtol=0, atol=1e-4)
    export_onnx(model, tmp_path / "net.onnx")
    found = drnn.load_onnx(tmp_path / "net.onnx")(x)
    torch.testing.assert_close(torch.as_tensor(found.logits), expected, rtol=0, atol=1e-4)
    assert torch.as_tensor(found.loops).sum() == record.executed.sum()


def test_a_block_that_cannot_be_seen_is_refused_by_name(tmp_path):
    model = network()
    compiled(model)
    with pytest.raises(ValueError, match=r"layer3\._orig_mod\.1 .* stands inside OptimizedModule"):
        export_onnx(model, tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_threads_and_calls_within_calls_keep_their_records_apart():
    models = [network(name) for name in ("dr_resnet16_cifar", "dr_resnet32_cifar")]
    inside = copy.deepcopy(models[0])
    models[1].layer2.register_forward_hook(lambda *given: inside.forward_with_gates(images(inside)) and None)
    x = images(models[0])
    expected = [model.forward_with_gates(x)[1].executed for model in models]
    assert [found.shape[1] for found in expected] == [4, 16]
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(models[number % 2].forward_with_gates, x) for number in range(16)]
    for number, job in enumerate(jobs):
        assert torch.equal(job.result()[1].executed, expected[number % 2])


def test_records_are_not_kept_after_an_error():
    model = network()
    handle = model.layer3.register_forward_hook(lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.forward_with_gates(images(model))
    handle.remove()
    assert model.forward_with_gates(images(model))[1].executed.shape == (4, 4)


def test_a_block_without_norms_leaves_its_input_alone():
    model = drnn.create_model("preresnet110_cifar", blocks=(2, 2, 2)).eval()
    for block in model.blocks():
        block.bn1 = block.bn2 = nn.Identity()
    block, x = next(iter(model.blocks())), torch.randn(2, 16, 8, 8)
    before = x.clone()
    found = block(x)
    assert torch.equal(x, before)
    torch.testing.assert_close(found, x + block.conv2(block.conv1(x.relu()).relu()))


def test_a_hook_may_ask_its_block_for_the_record():
    model, seen = network(), []
    model.layer3[1].register_forward_hook(lambda block, given, out: seen.append(block.forward_with_gates(*given)[1]))
    x = images(model)
    assert torch.equal(model.forward_with_gates(x)[1].executed[:, 2:], seen[0].executed)


class Row(nn.Sequential):
    """A container that computes as its parent."""


def test_stages_may_be_rows_of_other_names(tmp_path):
    model = network()
    expected = model(images(model))
    model.layer3 = Row(*model.layer3)
    export_onnx(model, tmp_path / "net.onnx")
    assert torch.equal(model(images(model)), expected)


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("name", ["dr_resnet16_cifar", "aig_resnet110_cifar"])
def test_stages_that_are_computed_again_in_the_backward_pass_learn_the_same(name, dense):
    found = []
    for again in (False, True):
        model = drnn.models.set_dense(network(name), dense).train()
        if again:
            plain = model.layer3.forward
            model.layer3.forward = lambda x, plain=plain: checkpoint(plain, x, use_reentrant=False)
        torch.manual_seed(0)
        logits, record = model.forward_with_gates(images(model, 8))
        (logits.square().sum() + target_rate_loss(record, 0.1)).backward()
        found.append([parameter.grad for parameter in model.parameters()])
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second)
