"""The gradient probe against plain autograd, and the theorems that the comparison rests on."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from drnn.analysis.gradients import (
    VARIANTS,
    build_variant,
    read_gradients,
    recalibrate,
    with_mixed_statistics,
    with_own_statistics,
)
from drnn.core import LVBN2d, RecursiveBlock
from drnn.models import create_model

SMALL = {"width": 4, "input_size": (1, 8, 8)}


def made(variant, seed=0, name="dr_resnet_digits", **overrides):
    torch.manual_seed(seed)
    model, sites = build_variant(name, variant, **{**SMALL, **overrides})
    return model.double().train(), sites


def batch(count=12):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 1, 8, 8, generator=generator, dtype=torch.float64), torch.arange(count) % 10


def measured(model, sites):
    x, y = batch()
    return read_gradients(model, sites, lambda: cross_entropy(model(x), y))


def slow_inputs(model, variant):
    """Norms of the gradient at each loop's input, with the network written out by hand."""
    x, y = batch()
    x, inputs = model.stem(x), []
    for number, block in enumerate(model.blocks()):
        if variant != "unrolled" and isinstance(block, RecursiveBlock):
            for loop in range(block.num_loops):
                inputs.append(x)
                x = block.body(x, loop, None)
        else:
            if variant == "unrolled" and number >= 2:  # after the two that change the shape: one a stage
                inputs.append(x)
            x = block(x)
    return [float(g.norm()) for g in torch.autograd.grad(cross_entropy(model.head(x), y), inputs)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_probe_equals_autograd_on_the_network_written_out(variant):
    model, sites = made(variant)
    readings = measured(model, sites)
    assert readings.block.tolist() == [0, 0, 0, 1, 1, 1]
    assert readings.loop.tolist() == [0, 1, 2, 0, 1, 2]
    np.testing.assert_allclose(readings.input_gradient, slow_inputs(model, variant), rtol=1e-9)


@pytest.mark.parametrize("variant", ["naive", "lvbn"])
def test_parts_of_the_loops_sum_to_the_gradient_of_the_shared_weights(variant):
    model, sites = made(variant)
    readings = measured(model, sites)
    x, y = batch()
    cross_entropy(model(x), y).backward()
    blocks = [module for module in model.modules() if isinstance(module, RecursiveBlock)]
    for block, summed in zip(blocks, readings.summed_gradient, strict=True):
        convs = [m.weight.grad for m in block.body.modules() if isinstance(m, torch.nn.Conv2d)]
        assert summed == pytest.approx(sum(float((g**2).sum()) for g in convs) ** 0.5)
    parts = readings.weight_gradient.reshape(2, 3)
    assert (readings.summed_gradient <= parts.sum(1)).all()


def test_the_gain_is_gamma_over_sigma():
    model, sites = made("naive")
    block = sites[0].module
    with torch.no_grad():
        block.bn1.weight.fill_(3.0)
    readings = measured(model, sites)
    x, _ = batch()
    x = model.stem(x)
    for stage in list(model.blocks())[:2]:
        x = stage(x)
    first = block.conv1(x).detach()
    second = block.conv2(torch.relu(block.bn1(first))).detach()
    factors = [
        (float(gamma**2) / (values.var((0, 2, 3), correction=0) + 1e-5)).mean().sqrt()
        for gamma, values in ((3.0, first), (1.0, second))
    ]
    assert readings.gain[0] == pytest.approx(float((factors[0] * factors[1]).sqrt()))


def test_naive_recursion_and_lvbn_are_the_same_before_training():
    naive, lvbn = (measured(*made(variant)) for variant in ("naive", "lvbn"))
    for ours, theirs in zip(naive, lvbn, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_measuring_changes_nothing():
    model, sites = made("lvbn")
    x, y = batch()
    cross_entropy(model(x), y).backward()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    measured(model, sites)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(torch.equal(old, p.grad) for old, p in zip(gradients, model.parameters(), strict=True))
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("stage", ["loss", "backward"])
def test_a_measurement_that_fails_changes_nothing(stage):
    model, sites = made("lvbn")
    x, y = batch()
    cross_entropy(model(x), y).backward()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    gradients = [parameter.grad for parameter in model.parameters()]

    def loss():
        found = cross_entropy(model(x), y)
        if stage == "loss":
            raise MemoryError
        return torch.stack([found, found])  # no scalar: backward refuses it

    with pytest.raises((MemoryError, RuntimeError)):
        read_gradients(model, sites, loss)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(old is parameter.grad for old, parameter in zip(gradients, model.parameters(), strict=True))


def test_a_pass_without_backward_is_noticed():
    model, sites = made("lvbn")
    with pytest.raises(RuntimeError, match="no backward pass seen"):
        read_gradients(model, sites[:1], lambda: torch.zeros((), requires_grad=True))


def test_own_statistics_compute_the_same_in_training():
    naive, _ = made("naive")
    x, _ = batch()
    naive(x)
    twin = with_own_statistics(naive)
    assert isinstance(next(m for m in twin.modules() if isinstance(m, LVBN2d)), LVBN2d)
    with torch.no_grad():
        torch.testing.assert_close(twin.double().eval()(x), naive.eval()(x))
        torch.testing.assert_close(twin.train()(x), naive.train()(x))


def test_own_statistics_stay_in_the_networks_precision():
    naive = create_model("r_resnet53_naive", stem="cifar", width=8, blocks=(1, 2), loops=(1, 2)).double()
    twin = with_own_statistics(naive)
    assert {value.dtype for value in twin.state_dict().values() if value.is_floating_point()} == {torch.float64}


@pytest.mark.gpu
def test_own_statistics_stay_on_the_networks_device():
    naive = create_model("r_resnet53_naive", stem="cifar", width=8, blocks=(1, 2), loops=(1, 2)).cuda()
    twin = with_own_statistics(naive)
    assert all(value.is_cuda for value in twin.state_dict().values())


def test_recalibration_takes_the_batches_own_statistics():
    model, _ = made("lvbn")
    x, _ = batch(200)
    twin = recalibrate(model, [x])
    with torch.no_grad():
        torch.testing.assert_close(twin(x), model(x), rtol=0.02, atol=0.02)  # unbiased against biased variance
    assert model.training


def test_mixed_statistics_are_those_of_all_loops_together():
    model, _ = made("lvbn")
    norm = next(m for m in model.modules() if isinstance(m, LVBN2d))
    values = torch.randn(3, 5000, 8, dtype=torch.float64) * torch.tensor([1.0, 2.0, 3.0])[:, None, None] + 1
    for loop, part in zip(norm.loops, values, strict=True):
        loop.running_mean.copy_(part.mean(0))
        loop.running_var.copy_(part.var(0, correction=0))
    mixed = next(m for m in with_mixed_statistics(model).modules() if isinstance(m, LVBN2d))
    for loop in mixed.loops:
        torch.testing.assert_close(loop.running_mean, values.flatten(0, 1).mean(0))
        torch.testing.assert_close(loop.running_var, values.flatten(0, 1).var(0, correction=0))


@pytest.mark.parametrize("name", ["dr_resnet74_cifar", "dr_mobilenetv2", "r_resnet53_naive"])
def test_every_variant_has_the_same_loops(name):
    small = {} if name == "dr_mobilenetv2" else {"width": 2}
    places = [[(s.block, s.loop) for s in build_variant(name, variant, **small)[1]] for variant in VARIANTS]
    assert places[0] == places[1] == places[2]
    assert len(places[0]) >= 9


def test_networks_without_loops_and_other_variants_are_refused():
    with pytest.raises(ValueError, match="no block that loops"):
        build_variant("resnet20_cifar", "naive")
    with pytest.raises(ValueError, match="no block that loops"):
        build_variant("dr_resnet_digits", "naive", blocks=(2, 1))
    with pytest.raises(ValueError, match="choose one of naive, lvbn, unrolled"):
        build_variant("dr_resnet_digits", "niave")
    with pytest.raises(ValueError, match="loops 3 received; give whole numbers"):
        build_variant("dr_resnet_digits", "lvbn", loops=3)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("field", "value"), [("norm", "lvbn"), ("gate", "linear"), ("target_rate", 0.5)])
def test_fields_that_the_variants_set_are_refused(variant, field, value):
    with pytest.raises(ValueError, match=f"overrides of {field} received, which the variants set"):
        made(variant, **{field: value})
