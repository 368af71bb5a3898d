"""Gates that answer by a script of their own accord: for files, where no script can answer in a gate's place."""

from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn

from drnn.bench.scripted_gate import Scripted
from drnn.bench.scripts import LoopScript
from drnn.core import gates_of
from drnn.core.gates import HiddenScorer, LinearScorer
from drnn.models import Classifier


@torch.no_grad()
def teach(model: Classifier, script: LoopScript, images: Tensor) -> None:
    """Give each gate weights with which ``images`` loop as ``script`` says.

    A gate of C channels reads C features, and with a bias gives up to C + 1 answers exactly, by a linear function of
    the features that the images arrive with, loop by loop. Of more answers it may still get every sign right.

    Args:
        model: a recursive network in evaluation mode; its gates' weights are overwritten.
        script: of P images and this network's blocks.
        images: ``(P, C, H, W)``.

    Raises:
        ValueError: the gates did not learn it, and one has more than C + 1 answers to give.
        RuntimeError: the gates did not learn it, though none has; images that are the same, for example.
    """
    twin = deepcopy(model)
    scripted = Scripted(twin, script, len(images))
    seen: list[list[Tensor]] = [[] for _ in scripted.gates]
    for gate, features in zip(scripted.gates, seen, strict=True):
        gate.register_forward_pre_hook(partial(_keep_features, features))
    scripted.check(images)
    crowded: list[str] = []
    for (name, gate), features, plan in zip(gates_of(model).items(), seen, scripted.plans[0], strict=True):
        inputs = torch.cat(features)
        inputs = torch.cat([inputs, inputs.new_ones(len(inputs), 1)], 1)
        answers = torch.cat(plan[: len(features)]).double()
        if len(answers) > inputs.shape[1]:
            crowded.append(f"{name} {len(answers)} of {inputs.shape[1]}")
        _answer(gate.scorer, torch.linalg.lstsq(inputs, answers[:, None], driver="gelsd").solution[:, 0])
    executed = model.forward_with_gates(images)[1].executed.sum(1)
    if torch.equal(executed, script.totals):
        return
    if crowded:
        raise ValueError(
            f"{len(images)} images received that loop {script.totals.double().mean():g} times on average, and the "
            f"gates did not learn it: some have more answers to give than channels + 1, which they "
            f"learn for sure: {', '.join(crowded[:3])}. Give fewer images or fewer loops, or a network of more channels"
        )
    raise RuntimeError(f"the gates execute {executed.tolist()} loops, and were taught {script.totals.tolist()}")


def _keep_features(kept: list[Tensor], _gate: nn.Module, arguments: tuple[Tensor]) -> None:
    kept.append(arguments[0].mean((2, 3)).double())


def _answer(scorer: nn.Module, solution: Tensor) -> None:
    """Make a scorer's margin ``features @ solution[:-1] + solution[-1]``."""
    for parameter in scorer.parameters():
        parameter.zero_()
    if isinstance(scorer, LinearScorer):
        layer, signs = scorer.fc, {1: 1.0}
    elif isinstance(scorer, HiddenScorer):
        layer, signs = scorer.fc1, {0: 1.0, 1: -1.0}  # relu(s) - relu(-s) is s
        scorer.fc2.weight[1, :2] = torch.tensor([1.0, -1.0])
    else:
        raise TypeError(f"{type(scorer).__name__} received; gates have a HiddenScorer or a LinearScorer")
    for row, sign in signs.items():
        layer.weight[row], layer.bias[row] = sign * solution[:-1], sign * solution[-1]
