"""A budget: how far each gate is turned after training, kept as ``budget.json`` beside a run's weights."""

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from torch import nn

from drnn.core import gates_of, set_thresholds
from drnn.storage import write_json
from drnn.weights.files import WEIGHTS, fingerprint

BUDGET = "budget.json"
FORMAT = 1
NAMED = {"open": -math.inf, "closed": math.inf}  # JSON has no infinities


@dataclass(frozen=True)
class Budget:
    """Thresholds, and where they come from.

    Attributes:
        model: the network's name.
        thresholds: of every gate by its module name, in margin units (the logit of the probability); an image
            executes where its margin lies above. -inf leaves the gate open, +inf closes it.
        request: what was asked for, such as ``{"value": 0.8, "unit": "share"}``.
        found: what the search saw on the images it used: ``macs_mean``, ``images``, ...
        weights_sha256: of the weights file that the thresholds were found for.
        environment: command, commit, versions and machine of the search.
    """

    model: str
    thresholds: dict[str, float]
    request: dict
    found: dict
    weights_sha256: str
    environment: dict


def refuse_static(model: nn.Module) -> None:
    """A budget turns gates.

    Raises:
        ValueError: a network without any.
    """
    if not gates_of(model):
        raise ValueError(
            f"{getattr(model, 'name', type(model).__name__)} has no gates with a threshold to turn; give a run of a "
            "network with such gates (drnn.core.Gate), such as dr_resnet16_cifar"
        )


def apply_budget(model: nn.Module, thresholds: dict[str, float]) -> None:
    """Set the threshold of every gate of ``model``; its weights stay as they are.

    Raises:
        ValueError: thresholds of other gates than the model's, or one that is no number; nothing has been changed
            then.
    """
    try:
        set_thresholds(model, thresholds)
    except ValueError as error:
        raise ValueError(f"{error}. Use the budget of this very network, or run drnn calibrate again") from error


def use_budget(model: nn.Module, folder: str | Path) -> None:
    """Set the thresholds of ``model``, the network of a run folder, to the budget that is kept there.

    Raises:
        FileNotFoundError: as `read_budget`.
        ValueError: likewise; or a network without gates, or thresholds of other gates than the model's.
    """
    refuse_static(model)
    apply_budget(model, read_budget(folder).thresholds)


def write_budget(folder: str | Path, budget: Budget) -> None:
    """Write ``budget.json`` into a run folder, whole or not at all."""
    write_json(Path(folder) / BUDGET, budget_fields(budget))


def budget_fields(budget: Budget) -> dict:
    """What ``budget.json`` holds."""
    names = {value: name for name, value in NAMED.items()}
    thresholds = {gate: names.get(value, value) for gate, value in budget.thresholds.items()}
    return {"format": FORMAT, **asdict(budget), "thresholds": thresholds}


def read_budget(folder: str | Path) -> Budget:
    """The budget of a run folder.

    Raises:
        FileNotFoundError: none was found for this run yet, or the run has no weights.
        ValueError: a damaged file, another format, or one found for other weights.
    """
    folder = Path(folder)
    path = folder / BUDGET
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {BUDGET}; make one with: drnn calibrate {folder} --macs 0.8")
    budget = _parsed(path)
    if budget.weights_sha256 != fingerprint(folder):
        raise ValueError(f"{path} was found for other weights than {folder / WEIGHTS}; run drnn calibrate again")
    return budget


def _number(value: float | str) -> float:
    return NAMED[value] if isinstance(value, str) else float(value)


def _parsed(path: Path) -> Budget:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        given = values.pop("format")
        thresholds = {gate: _number(value) for gate, value in values["thresholds"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path} is damaged ({error!r}); run drnn calibrate again") from error
    if given != FORMAT or values.keys() != {field.name for field in fields(Budget)}:
        raise ValueError(f"{path} has format {given!r}, this version reads {FORMAT}; run drnn calibrate again")
    if any(math.isnan(value) for value in thresholds.values()):
        raise ValueError(f"{path} is damaged (a threshold that is no number); run drnn calibrate again")
    return Budget(**{**values, "thresholds": thresholds})
