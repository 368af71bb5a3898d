"""A step that also learns from the same images with every loop executed."""

from dataclasses import replace

import pytest
import torch

from .ranks import scatter_gates
from .test_step import TINY, batch, freeze_norms, make_session, make_step


@pytest.mark.parametrize("accumulate", [1, 2])
def test_it_adds_its_gradient(accumulate):
    """Weighted; the gates learn from the other pass alone."""
    recipe, (images, labels) = replace(TINY, model="dr_resnet_digits", accumulate=accumulate), batch()
    beside, gated = make_step(replace(recipe, every_loop_weight=0.5)), make_step(recipe)
    alone = make_step(replace(recipe, gate="open", target_rate=None))
    for step in (beside, gated):
        torch.manual_seed(0)
        scatter_gates(step.model, step.normalize(images))
    alone.model.load_state_dict(gated.model.state_dict(), strict=False)
    gradients, losses = {}, {}
    for name, step in {"beside": beside, "gated": gated, "every loop": alone}.items():
        freeze_norms(step.model)
        result = step(images, labels, 3.0)
        losses[name] = float(result.loss), float(result.cross_entropy)
        gradients[name] = {key: parameter.grad for key, parameter in step.model.named_parameters()}
    assert losses["beside"][0] == pytest.approx(losses["gated"][0] + 0.5 * losses["every loop"][0], rel=1e-5)
    assert losses["beside"][1] == losses["gated"][1]
    for name, gradient in gradients["beside"].items():
        expected = gradients["gated"][name]
        if name in gradients["every loop"]:
            expected = expected + 0.5 * gradients["every loop"][name]
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6, msg=name)


def test_it_moves_no_statistics():
    found = []
    images, labels = batch()
    for weight in (0.0, 1.0):
        step = make_step(replace(TINY, model="dr_resnet_digits", every_loop_weight=weight))
        torch.manual_seed(0)
        scatter_gates(step.model, step.normalize(images))
        step.model.train()
        result = step(images, labels, 1.0)
        assert 0 < int(result.executed.sum()) < int(result.arrived.sum())
        found.append(dict(step.model.named_buffers()))
    assert all(torch.equal(found[1][name], buffer) for name, buffer in found[0].items())


def test_it_is_computed_as_the_other_pass(monkeypatch):
    """In bf16 where the recipe says so, whatever this CPU has instructions for."""
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    step, kinds = make_step(replace(TINY, model="dr_resnet_digits", precision="bf16", every_loop_weight=1.0)), []
    step.model.fc.register_forward_hook(lambda layer, given, logits: kinds.append(logits.dtype))
    step.model.train()
    assert torch.isfinite(step(*batch(), 1.0).loss)
    assert kinds == [torch.bfloat16] * 2


@pytest.mark.parametrize("changes", [{"model": "resnet_digits", "target_rate": None}, {"gate": "open"}])
def test_it_is_refused_where_no_gate_leaves_any_out(changes):
    with pytest.raises(ValueError, match=r"every_loop_weight 1.0 received; no gate of this d?r?_?resnet_digits"):
        make_session(every_loop_weight=1.0, **changes)
    with pytest.raises(ValueError, match="every_loop_weight = -1 is out of range"):
        replace(TINY, every_loop_weight=-1)
