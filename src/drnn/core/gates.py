"""The gate: a score per image, and a decision from the score. Index 1 of the two scores means *execute*."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from drnn.core.modes import autocasts

START_PROBABILITY = 0.85


@dataclass(frozen=True, eq=False)
class GateDecision:
    """A gate's answer for N images: the score of executing less that of leaving, as it is and as it decides, ``(N,)``.

    The softmax over two scores is the sigmoid of their difference, so the margin says all.
    """

    margin: Tensor
    deciding_margin: Tensor

    @property
    def executes(self) -> Tensor:
        """Who executes, bool ``(N,)``; a tie leaves, as argmax would."""
        return self.deciding_margin > 0

    @property
    def decision(self) -> Tensor:
        """The same as exactly 0 or 1, with the gradient of the softmax (straight-through), ``(N,)``."""
        soft = self.deciding_margin.sigmoid()
        return self.executes.to(soft.dtype) + (soft - soft.detach())

    @property
    def probability(self) -> Tensor:
        """Softmax probability of executing, without noise, ``(N,)``."""
        return self.margin.sigmoid()


def start_executing(last: nn.Linear) -> None:
    """Let a gate begin by executing with probability .85, nearly whatever it sees."""
    nn.init.normal_(last.weight, std=0.001)
    with torch.no_grad():
        last.bias.copy_(torch.tensor([0.0, math.log(START_PROBABILITY / (1 - START_PROBABILITY))]))


class HiddenScorer(nn.Module):
    """Global average pool, FC(C, hidden), ReLU, FC(hidden, 2): the gate of the ResNets. ``(N, C, H, W) -> (N, 2)``."""

    def __init__(self, in_channels: int, hidden: int = 16):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(in_channels, hidden), nn.Linear(hidden, 2)
        start_executing(self.fc2)

    def forward(self, x: Tensor) -> Tensor:
        """Score x ``(N, C, H, W)``."""
        return self.fc2(torch.relu(self.fc1(x.mean((2, 3)))))


class LinearScorer(nn.Module):
    """Global average pool, FC(C, 2): the gate of the MobileNets. ``(N, C, H, W) -> (N, 2)``."""

    def __init__(self, in_channels: int):
        super().__init__()
        self.fc = nn.Linear(in_channels, 2)
        start_executing(self.fc)

    def forward(self, x: Tensor) -> Tensor:
        """Score x ``(N, C, H, W)``."""
        return self.fc(x.mean((2, 3)))


class Deterministic(nn.Module):
    """Argmax forward, softmax gradient backward, temperature 1: training and evaluation decide alike."""

    random_in_evaluation = False

    def forward(self, scores: Tensor) -> GateDecision:
        """Decide from scores ``(N, 2)``.

        Raises:
            ValueError: scores of another shape.
        """
        if scores.dim() != 2 or scores.shape[1] != 2:
            raise ValueError(
                f"scores of shape {tuple(scores.shape)} received; a scorer gives (N, 2), of leaving and of executing"
            )
        margin = scores[:, 1] - scores[:, 0]
        return GateDecision(margin, self.disturb(margin))

    def disturb(self, margin: Tensor) -> Tensor:
        """The margin ``(N,)`` that decides; here unchanged."""
        return margin


class AlwaysNoisy(Deterministic):
    """Gumbel noise in training and in evaluation, as ConvNet-AIG (Veit & Belongie, 2018) decides."""

    random_in_evaluation = True

    def disturb(self, margin: Tensor) -> Tensor:
        """The difference of two Gumbel variables is logistic: one draw does for both scores."""
        uniform = torch.rand_like(margin).clamp(1e-6, 1 - 1e-6)
        return margin + torch.log(uniform) - torch.log1p(-uniform)


class TrainingNoise(AlwaysNoisy):
    """Gumbel noise in training only, none in evaluation: the other reading of the paper's introduction."""

    random_in_evaluation = False

    def disturb(self, margin: Tensor) -> Tensor:
        """Noise while training."""
        return super().disturb(margin) if self.training else margin


def without_autocast(ask: Callable[[Tensor], Tensor], x: Tensor, weights: Iterable[Tensor]) -> Tensor:
    """``ask(x)`` in the dtype of ``weights``, whatever autocast says: margins are small, and a tie leaves."""
    if not autocasts(x):
        return ask(x)
    with torch.autocast(x.device.type, enabled=False):
        return ask(x.to(next(iter(weights), x).dtype))


class Gate(nn.Module):
    """A scorer and a way to decide. ``(N, C, H, W) -> GateDecision`` of ``(N,)``.

    Attributes:
        threshold: ``()``, in the margin's units (the logit of the probability): in evaluation an image executes where
            its margin lies above it. 0, where training decides; a budget moves it. It is not part of the weights.
    """

    threshold: Tensor

    def __init__(self, scorer: nn.Module, decide: nn.Module):
        super().__init__()
        self.scorer, self.decide = scorer, decide
        self.register_buffer("threshold", torch.zeros(()), persistent=False)

    def _apply(self, fn, recurse=True):
        blank = self.threshold.is_meta
        super()._apply(fn, recurse)
        if blank and not self.threshold.is_meta:  # memory that nobody has written, and no weights will
            self.threshold.zero_()
        return self

    @property
    def random_in_evaluation(self) -> bool:
        """Whether it draws lots in evaluation, too; a way of deciding that does not say so does not."""
        return getattr(self.decide, "random_in_evaluation", False)

    def ask(self, x: Tensor) -> GateDecision:
        """Its answer before the threshold moves it, for images x ``(N, C, H, W)``."""
        answer = self.decide(without_autocast(self.scorer, x, self.scorer.parameters()))
        if not isinstance(answer, GateDecision):
            raise TypeError(
                f"{type(self.decide).__qualname__} gave {type(answer).__qualname__}; what decides makes a "
                "drnn.core.GateDecision of scores"
            )
        return answer

    def forward(self, x: Tensor) -> GateDecision:
        """Ask whether each image of x ``(N, C, H, W)`` goes on; in the precision of its weights under autocast, too."""
        answer = self.ask(x)
        return answer if self.training else GateDecision(answer.margin, answer.deciding_margin - self.threshold)


class OpenGate(nn.Module):
    """No gate: every image executes every loop. For recursion without a decision (Table 3, rows 2, 3 and 6)."""

    def forward(self, x: Tensor) -> GateDecision:
        """Always go on."""
        return go_on(x)


def go_on(x: Tensor) -> GateDecision:
    """The answer that every image of x ``(N, C, H, W)`` executes."""
    certain = x.new_full((x.shape[0],), torch.inf)
    return GateDecision(certain, certain)


def gates_of(model: nn.Module) -> dict[str, Gate]:
    """Every gate with a threshold by its module name, in the order in which images meet them.

    Example:
        >>> from drnn.models import create_model
        >>> list(gates_of(create_model("dr_resnet16_cifar")))
        ['layer2.1.gate', 'layer3.1.gate']
    """
    return {name: module for name, module in model.named_modules() if isinstance(module, Gate)}
