"""What is timed: a case, its networks with random weights, and its images' loops."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from drnn.bench.scripts import LoopScript, script_by_rate, script_by_total
from drnn.costs import Costs, count_costs
from drnn.inference import optimize
from drnn.models import Classifier, create_model, set_dense
from drnn.models.registry import MODELS

FORMS, FOREIGN = ("plain", "optimised", "masked", "compiled", "captured"), "torchvision/"
FIGURE_8 = {"dr_resnet53": (11.74, 1.50)}  # mean and standard deviation of an image's loops


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        first: a recursive network by name; the folder of a run, with its own gates on its own test images; or
            torchvision's own static network, "torchvision/resnet101".
        second: the static network by name, or likewise torchvision's.
        form: "plain", "optimised", "masked" (optimised, no image skipped), "compiled" or "captured" (CUDA graphs), for
            both; torchvision's networks run plain.
        batch_size: N.
        rounds: pairs.
        rate: conditional rate of all gates; None for Figure 8's spread where it is known, else the target rate. A run
            has none but its own.
        seed: of weights, script and images; a run has its own.
        device: "cpu", "cuda", ...
        data_root: where a run's data set is, if not where its recipe says.

    Raises:
        ValueError: a form, rate, size or number of rounds that cannot be measured.
    """

    first: str
    second: str
    form: str
    batch_size: int
    rounds: int
    rate: float | None = None
    seed: int = 0
    device: str = "cpu"
    data_root: str | None = None

    def __post_init__(self):
        if self.form not in FORMS:
            raise ValueError(f"form {self.form!r} received; choose from {', '.join(FORMS)}")
        if self.form != "plain" and (is_foreign(self.first) or is_foreign(self.second)):
            raise ValueError(
                f"{self.first} against {self.second} received with form {self.form!r}; torchvision's networks run "
                "plain only: --forms [plain]"
            )
        if self.rate is not None and (is_foreign(self.first) or is_run(self.first)):
            raise ValueError(f"{self.first} received with rate {self.rate}; only gates that follow a script have one")
        if self.form == "captured" and (self.batch_size != 1 or not self.device.startswith("cuda")):
            raise ValueError(
                f"form 'captured' received with batch size {self.batch_size} on {self.device}; CUDA graphs are for one "
                "image, on a GPU: --batch_sizes [1] --device cuda"
            )
        if self.batch_size < 1 or self.rounds < 1:
            raise ValueError(f"batch size {self.batch_size} and rounds {self.rounds} received; each is 1 or more")


def is_foreign(name: str) -> bool:
    """Whether a name is one of torchvision's."""
    return name.startswith(FOREIGN)


def is_run(name: str) -> bool:
    """Whether a name is that of a folder, as of a run; a network's own name is none, but "./resnet101" would be."""
    return name not in MODELS and Path(name).is_dir()


def build(name: str, form: str, seed: int, device: str = "cpu", **options) -> Any:
    """A network by name with random weights and norms that fit them, in evaluation mode and in the form asked for.

    ``options`` are those of `drnn.create_model`.
    """
    torch.manual_seed(seed)
    if is_foreign(name):
        return _theirs(name).to(device).eval()
    model = create_model(name, **options)
    settle(model)
    return in_form(model, form, device)


def _theirs(name: str) -> nn.Module:
    """A network of torchvision's by name."""
    from torchvision.models import get_model  # which takes as long to import as torch itself

    return get_model(name.removeprefix(FOREIGN), weights=None)


def in_form(model: Classifier, form: str, device: str) -> Classifier:
    """A network in evaluation mode, on ``device``, in the form asked for."""
    model.to(device).eval()
    if form == "plain":
        return model
    mask = True if form == "masked" else None
    return optimize(model, compile=form == "compiled", capture=form == "captured", mask=mask)


@cache
def skeleton(name: str) -> Classifier:
    """One of our networks by name, without numbers."""
    with torch.device("meta"):
        return create_model(name)


def images_for(case: Case, size: tuple[int, ...]) -> Tensor:
    """The batch ``(N, *size)`` that every round of a case runs on."""
    return torch.randn(case.batch_size, *size, generator=torch.Generator().manual_seed(case.seed)).to(case.device)


def input_size_of(name: str) -> tuple[int, int, int]:
    """``(C, H, W)`` of the images a network is timed on."""
    return (3, 224, 224) if is_foreign(name) else skeleton(name).input_size


@cache
def costs_of(name: str) -> Costs:
    """Parameters and multiply-adds of one of our networks by name."""
    return count_costs(skeleton(name))


@cache
def max_macs_of(name: str) -> int:
    """Multiply-adds of one image with all loops; of torchvision's networks those that torch itself counts."""
    if not is_foreign(name):
        return costs_of(name).max_macs
    model = _theirs(name).to("meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.empty(1, *input_size_of(name), device="meta"))
    return counter.get_total_flops() // 2


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


def script_for(case: Case, model: Classifier) -> LoopScript:
    """The loops of every image that the case will see, for ``model``, its recursive network."""
    images, target, slots = case.batch_size * case.rounds, model.target_rate or 1.0, costs_of(case.first).slots
    if case.rate is None and case.first in FIGURE_8:
        return script_by_total(slots, *FIGURE_8[case.first], images, target, case.seed)
    return script_by_rate(slots, target if case.rate is None else case.rate, images, case.seed)
