"""What one of several processes does: ``torchrun ranks.py FOLDER``. Also run by one process alone, for comparison."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from drnn.core import RecursiveBlock
from drnn.data import EpochPlan, Normalize
from drnn.training import find_recipe
from drnn.training.distributed import workers_of
from drnn.training.evaluation import evaluate_source
from drnn.training.network import build_model
from drnn.training.session import Session
from drnn.training.trainer import load_data

RECIPE = replace(
    find_recipe("digits"), batch_size=24, accumulate=2, held_out=501, threads=1, rate_weight=3.0, flip=True,
    warmup_epochs=0, every_loop_weight=0.5,
)  # fmt: skip


@torch.no_grad()
def scatter_gates(model, images):
    """Let gates answer differently from image to image: a random one that is centred on what it meets first."""

    def centre(gate, given):
        if gate not in seen:
            seen.add(gate)
            gate.scorer.fc1.bias.copy_(-gate.scorer.fc1.weight @ given[0].mean((0, 2, 3)))

    seen, hooks = set(), []
    for module in model.modules():
        if isinstance(module, RecursiveBlock):
            for parameter in module.gate.parameters():
                nn.init.normal_(parameter, std=2)
            nn.init.zeros_(module.gate.scorer.fc2.bias)
            hooks.append(module.gate.register_forward_pre_hook(centre))
    model.eval()(images)
    for hook in hooks:
        hook.remove()


def run(recipe):
    """One update with norms in evaluation mode: gradients, weights, record and logits of a test."""
    with workers_of("cpu") as workers:
        if "RANK" in os.environ:  # imported later, while gloo's threads run, it has some processes abort at their end
            assert "torch._dynamo" in sys.modules
        source = load_data(recipe)
        torch.manual_seed(0)
        model = build_model(recipe, source)
        scatter_gates(model, Normalize(source.mean, source.std)(source.train_images[:100]))
        session = Session(recipe, model, source, workers)
        for module in model.train().modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        for images, labels in session.source.train_batches(
            EpochPlan(0, 0, recipe.batch_size), session.augmentation, workers.share
        ):
            session.update(images, labels)
            break
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        result = evaluate_source(model, source, workers, batch_size=70)
        counts = session.tally.over_all(workers).means()
        return workers.first, {"gradients": gradients, "logits": result.logits, "labels": result.labels,
                               "executed": result.record.executed, "counts": counts}  # fmt: skip


if __name__ == "__main__":
    first, found = run(replace(RECIPE, accumulate=1))
    if first:
        torch.save(found, Path(sys.argv[1]) / "found.pt")
