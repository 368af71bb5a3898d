"""What is timed: a case, its networks with random weights, and its images' loops."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from drnn.bench.scripts import LoopScript, script_by_rate, script_by_total
from drnn.costs import Costs
from drnn.inference import optimize
from drnn.models import Classifier, create_model, set_dense

FIGURE_8 = {"dr_resnet53": (11.74, 1.50)}  # mean and standard deviation of an image's loops


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        first: a recursive network by name.
        second: the static network by name.
        form: "plain" or "optimised", for both.
        batch_size: N.
        rounds: pairs.
        rate: conditional rate of all gates; None for Figure 8's spread where it is known, else the target rate.
        seed: of script and images.
        device: "cpu", "cuda", ...
    """

    first: str
    second: str
    form: str
    batch_size: int
    rounds: int
    rate: float | None = None
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self):
        if self.form not in ("plain", "optimised"):
            raise ValueError(f"form {self.form!r} received; choose 'plain' or 'optimised'")
        if self.batch_size < 1 or self.rounds < 1:
            raise ValueError(f"batch size {self.batch_size} and rounds {self.rounds} received; each is 1 or more")


def build(name: str, form: str, seed: int, device: str = "cpu") -> Classifier:
    """A network by name with random weights and norms that fit them, in evaluation mode and in the form asked for."""
    torch.manual_seed(seed)
    model = create_model(name)
    settle(model)
    model.to(device)
    return optimize(model) if form == "optimised" else model.eval()


@torch.no_grad()
def settle(model: Classifier, images: int = 2) -> None:
    """Let every norm take the statistics of a random batch, so that activations keep their size, as trained ones do."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    set_dense(model).train()(torch.randn(images, *model.input_size))
    for norm in norms:
        norm.momentum = 0.1
    set_dense(model, False).eval()


def script_for(case: Case, target: float, slots: tuple[int, ...]) -> LoopScript:
    """The loops of every image that the case will see."""
    images = case.batch_size * case.rounds
    if case.rate is None and case.first in FIGURE_8:
        return script_by_total(slots, *FIGURE_8[case.first], images, target, case.seed)
    return script_by_rate(slots, target if case.rate is None else case.rate, images, case.seed)


def macs_of(script: LoopScript, costs: Costs) -> Tensor:
    """Multiply-adds of each image of a script, gates included, int64 ``(P,)``."""
    macs, slot = torch.full((len(script.loops),), costs.fixed_macs), 0
    for block, num_loops in enumerate(costs.slots):
        for loop in range(num_loops):
            done = script.loops[:, block]
            macs += (done > loop) * costs.loop_macs[slot] + (done >= loop) * costs.gate_macs[slot]
            slot += 1
    return macs


def share_of_loops(script: LoopScript, costs: Costs) -> float:
    """Multiply-adds executed inside loops, of those of all loops of all images."""
    done, slot = 0, 0
    for block, num_loops in enumerate(costs.slots):
        for loop in range(num_loops):
            done += int((script.loops[:, block] > loop).sum()) * costs.loop_macs[slot]
            slot += 1
    return done / (sum(costs.loop_macs) * len(script.loops))
