"""The norms of gated blocks by themselves: two groups, each with its own statistics."""

import copy

import pytest
import torch

from drnn.core import LoopGroups
from drnn.core.groups import group_moments
from drnn.core.norms import LEAVING, DecisionBatchNorm2d

from .small import images, make_block


def test_images_that_left_change_nothing():
    norm, x = DecisionBatchNorm2d(4).double(), images(6)
    arrives = torch.tensor([True, True, False, True, False, True])
    executes = torch.tensor([True, False, False, True, False, False])
    results = []
    for filling in (0.0, 1e6, torch.inf, torch.nan):
        twin, filled = copy.deepcopy(norm), x.clone()
        filled[~arrives] = filling
        out = twin(filled, 0, LoopGroups(arrives, executes))
        results.append((out[arrives], *(buffer for _, buffer in twin.named_buffers())))
    for zero, *others in zip(*results, strict=True):
        assert all(torch.equal(zero, other) for other in others)


def test_groups_serve_norms_over_maps_of_several_sizes():
    groups = LoopGroups(torch.tensor([True, True, False]), torch.tensor([True, False, False]))
    for values in (4, 1, 9):
        numbers = groups.numbers(values, torch.float32)
        assert numbers.unbiased[:, 0].tolist() == pytest.approx([values / max(values - 1, 1)] * 2)
        assert numbers.more.tolist() == [int(values > 1)] * 2
        assert groups.numbers(values, torch.float32) is numbers


def test_half_precision_keeps_its_maps_in_half_precision_for_the_gradient():
    x, kept = torch.randn(6, 4, 8, 8).bfloat16().requires_grad_(), []
    groups = LoopGroups(torch.ones(6, dtype=torch.bool), torch.arange(6) < 3)
    with torch.autograd.graph.saved_tensors_hooks(lambda part: kept.append(part) or part, lambda part: part):
        out = DecisionBatchNorm2d(4)(x, 0, groups)
    assert {part.dtype for part in kept if part.shape == x.shape} == {torch.bfloat16}
    exact = x.detach().double().requires_grad_()
    twin = DecisionBatchNorm2d(4).double()
    weight = torch.randn(x.shape)
    (got,), (expected,) = (
        torch.autograd.grad((y * weight.to(y.dtype)).sum(), given)
        for y, given in ((out, x), (twin(exact, 0, groups), exact))
    )
    torch.testing.assert_close(got.double(), expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("executing", [0, 1, 2])
def test_groups_of_at_most_one_value_use_the_running_statistics(executing):
    norm, x = DecisionBatchNorm2d(2).double(), images(2, 2, 1)
    with torch.no_grad():
        norm.running_mean.copy_(torch.tensor([0.3, -0.2]))
    executes = torch.arange(2) < executing
    out = norm(x, 0, LoopGroups(torch.ones(2, dtype=torch.bool), executes))
    by_running = copy.deepcopy(norm).eval()
    by_running.running_mean.copy_(torch.tensor([0.3, -0.2]))
    by_running.running_var.fill_(1)
    alone = executing == 1
    assert torch.equal(torch.isclose(out, by_running(x)).all(), torch.tensor(alone))
    assert int(norm.num_batches_tracked) == (executing == 2)


@pytest.mark.parametrize("apart", [False, True])
def test_without_momentum_both_groups_keep_plain_averages(apart):
    """As torch's own norms do; a batch without a group counts for nothing in it."""
    norm, first = DecisionBatchNorm2d(4).double(), images(6)
    norm.momentum = None
    norm.running_mean.fill_(7)
    norm.skipped_mean.fill_(7)
    norm.reset_running_stats()
    batches = [(first, [0, 1, 2, 3], [4, 5]), (images(6) + 3, [0, 1, 2, 3, 4, 5], []), (images(6) * 2, [1], [0, 2])]
    for x, going, leaving in batches:
        if apart:
            norm(x[going], 0, None)
            norm(x[leaving], 0, LEAVING)
        else:
            executes, arrives = (torch.isin(torch.arange(6), torch.tensor(rows)) for rows in (going, going + leaving))
            norm(x, 0, LoopGroups(arrives, executes))
    going, leaving = ([x[batch[group]] for x, *batch in batches if batch[group]] for group in (0, 1))
    for kind, parts in (("running", going), ("skipped", leaving)):
        mean = torch.stack([part.mean((0, 2, 3)) for part in parts]).mean(0)
        var = torch.stack([part.var((0, 2, 3)) for part in parts]).mean(0)
        torch.testing.assert_close(getattr(norm, f"{kind}_mean"), mean)
        torch.testing.assert_close(getattr(norm, f"{kind}_var"), var)


def test_moments_of_groups_are_exact_far_from_zero():
    x = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(0)) + 1e3
    groups = LoopGroups(torch.arange(8) < 5, torch.arange(8) < 5).numbers(16, torch.float32)
    mean, var, own = group_moments(x, groups, torch.full((3,), 7.0), torch.full((3,), 2.0))
    exact = x[:5].double()
    torch.testing.assert_close(mean[0].double(), exact.mean((0, 2, 3)), rtol=1e-6, atol=0)
    torch.testing.assert_close(var[0].double(), exact.var((0, 2, 3), correction=0), rtol=1e-3, atol=0)
    assert torch.equal(own[:5], mean[:1].expand(5, -1))
    assert mean[1].tolist() == [7.0] * 3  # nobody leaves
    assert var[1].tolist() == [2.0] * 3


@pytest.mark.parametrize(("offset", "spread"), [(0.0, 1.0), (1e3, 1.0), (0.0, 1e-4), (-20.0, 1e-3)])
def test_normalising_groups_in_float32_equals_the_formula_in_float64(offset, spread):
    """Outputs and all gradients; a tiny variance, and a large mean, cost no more than float32's own rounding of x."""
    generator, norm = torch.Generator().manual_seed(0), DecisionBatchNorm2d(3)
    torch.nn.init.normal_(norm.weight, generator=generator)
    x = torch.randn(9, 3, 4, 4, generator=generator) * spread + offset
    dy = torch.randn(x.shape, generator=generator)
    arrives, executes = torch.arange(9) < 8, torch.arange(9) < 5
    dy[~arrives] = 0  # nothing flows back to an image that left
    exact_x, exact_w = x.double().requires_grad_(), norm.weight.detach().double().requires_grad_()
    parts = []
    for group in (exact_x[:5], exact_x[5:8]):
        var, mean = torch.var_mean(group, (0, 2, 3), correction=0, keepdim=True)
        parts.append((group - mean) / (var + norm.eps).sqrt() * exact_w[:, None, None])
    exact = torch.cat(parts)
    expected = torch.autograd.grad(exact, (exact_x, exact_w), dy[:8].double())
    x.requires_grad_()
    out = norm(x, 0, LoopGroups(arrives, executes))
    got = torch.autograd.grad(out, (x, norm.weight, norm.bias), dy)
    tolerance = 1e-5 + abs(offset) * 2e-7 / spread  # float32 knows x to 6e-8 of its size
    torch.testing.assert_close(out[:8].double(), exact, rtol=1e-5, atol=tolerance)
    scale = float(expected[0].abs().max())
    torch.testing.assert_close(got[0].double(), expected[0], rtol=1e-5, atol=tolerance * scale)
    torch.testing.assert_close(got[1].double(), expected[1], rtol=1e-5, atol=tolerance * 100)
    torch.testing.assert_close(got[2], dy.sum((0, 2, 3)), rtol=1e-5, atol=1e-5)


def test_norms_whose_weight_another_layer_makes_still_know_their_group():
    """torch gives them a class of its own, made of ours."""
    found = []
    for parametrized in (False, True):
        block = make_block().train()
        if parametrized:
            for norm in [part for part in block.body.modules() if isinstance(part, DecisionBatchNorm2d)]:
                torch.nn.utils.parametrize.register_parametrization(norm, "weight", torch.nn.Identity())
        block.set_dense(True)
        block(images(6))
        buffers = dict(block.named_buffers())
        found.append([buffers[name] for name in sorted(buffers) if "skipped" in name or "running" in name])
    for plain, made in zip(*found, strict=True):
        torch.testing.assert_close(plain, made)


def test_second_derivatives_of_the_masked_form_are_refused():
    """They would leave out how the statistics depend on x."""
    x = torch.randn(6, 3, 4, 4, requires_grad=True)
    groups = LoopGroups(torch.ones(6, dtype=torch.bool), torch.tensor([True] * 3 + [False] * 3))
    (first,) = torch.autograd.grad(DecisionBatchNorm2d(3)(x, 0, groups).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.square().sum().backward()
