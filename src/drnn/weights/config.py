"""How to build a network again, as the plain values of a config.json, and back."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from drnn.core import gates_of, set_thresholds, thresholds_of
from drnn.models import Classifier, Preprocessing, create_model, model_spec
from drnn.models.classifier import NetworkSpec
from drnn.models.registry import MODELS, telling_fields
from drnn.weights.files import differences, told
from drnn.weights.preprocessing import preprocessing_of


@dataclass(frozen=True)
class Config:
    """A network without its weights.

    Attributes:
        model: a name of the registry.
        spec: fields of its specification, all that say something of it.
        preprocessing: what images go through first.
        thresholds: of its gates, in order.
        classes: names of the K answers, or none.

    Raises:
        ValueError: values that do not go together, or none that a network can be built of.
    """

    model: str
    spec: dict
    preprocessing: Preprocessing
    thresholds: tuple[float, ...]
    classes: tuple[str, ...] = ()

    def __post_init__(self):
        twin = self.on_meta()
        if len(self.classes) not in (0, twin.num_classes):
            raise ValueError(f"{len(self.classes)} names of classes received for a network of {twin.num_classes}")
        if not all(isinstance(name, str) for name in self.classes):
            raise ValueError(f"classes {self.classes} received; give text")
        if self.preprocessing.size[0] != twin.input_size[0]:
            raise ValueError(
                f"preprocessing of {self.preprocessing.size[0]} channels received; {self.model} takes "
                f"{twin.input_size[0]}"
            )
        if len(self.thresholds) != len(gates := gates_of(twin)):
            raise ValueError(f"{len(self.thresholds)} thresholds received; {self.model} has {len(gates)} gates")
        if any(map(math.isnan, self.thresholds)):
            raise ValueError("threshold nan received; give a number, or an infinite one that opens or closes the gate")

    def build(self) -> Classifier:
        """The network, freshly initialised, with its thresholds, its preprocessing and the names of its classes."""
        model = create_model(self.model, **self.spec)
        model.preprocessing, model.classes = self.preprocessing, self.classes
        set_thresholds(model, dict(zip(gates_of(model), self.thresholds, strict=True)))
        return model

    def on_meta(self) -> Classifier:
        """The network's names and shapes, without memory for its values."""
        with torch.device("meta"):
            return create_model(self.model, **self.spec)

    def to_json(self) -> str:
        """As text; infinite thresholds, which JSON does not have, as text within it."""
        held = {
            "library_name": "drnn",
            "model": self.model,
            "spec": self.spec,
            "preprocessing": self.preprocessing.to_dict(),
            "thresholds": [value if math.isfinite(value) else str(value) for value in self.thresholds],
            "classes": list(self.classes),
        }
        try:
            return json.dumps(held, indent=1, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise ValueError(f"the network's spec {self.spec} is not made of plain, finite values: {error}") from error


def describe(
    model: Classifier, preprocessing: Preprocessing | None = None, classes: Sequence[str] | None = None
) -> Config:
    """The config of a network of `create_model`, with the number of classes that its classifier really has.

    Raises:
        ValueError: a network that has no name to build it by, or differs from what its name and fields would build; or
            names of classes, preprocessing or thresholds that do not fit it.
    """
    if model.name not in MODELS:
        raise ValueError(
            f"this {model.name} was built without a name of drnn models, so no config says how to build it again; make "
            "it by drnn.create_model(NAME, field=...), which takes any field of its specification"
        )
    state = model.state_dict()
    kept = _fields_of(model.spec, model_spec(model.name))
    if "fc.weight" in state:
        kept["num_classes"] = len(state["fc.weight"])
    thresholds = tuple(thresholds_of(model).values())
    with torch.device("meta"):
        twin = create_model(model.name, **kept)
    if wrong := differences(twin.state_dict(), state):
        raise ValueError(
            f"this {model.name} cannot be opened again: {len(wrong)} entries differ from the network that its name and "
            f"fields build, first {wrong[:3]}. Its last layer must be one nn.Linear. If it is a copy that "
            "drnn.optimize made, save the network it was made of"
        )
    if wrong := [name for name, value in state.items() if value.is_floating_point() and value.dtype != torch.float32]:
        raise ValueError(
            f"this {model.name} cannot be opened again as it is: {len(wrong)} entries are not float32, as all networks "
            f"come back, first {wrong[0]} of {state[wrong[0]].dtype}; save model.float()"
        )
    made, built = _layers(model), _layers(twin)
    both = sorted(made.keys() | built.keys())
    if wrong := [name for name in both if not _does_the_same(made.get(name), built.get(name))]:
        first = f"{wrong[0]} ({_told(made.get(wrong[0]))}; built: {_told(built.get(wrong[0]))})"
        raise ValueError(
            f"this {model.name} cannot be opened again: {len(wrong)} layers differ from those that its name and fields "
            f"build, first {first}. Set them back, or give create_model the fields that build them"
        )
    names = class_names(model) if classes is None else tuple(classes)
    return Config(model.name, kept, preprocessing or preprocessing_of(model), thresholds, names)


def _fields_of(spec: NetworkSpec, named: NetworkSpec) -> dict:
    """All that say something of it, since a name may mean another network by the day it is opened.

    A value that no JSON holds comes by the name, where that builds it; where it does not, `Config.to_json` refuses it.
    """
    values = {name: getattr(spec, name) for name in sorted(telling_fields(spec))}
    return {name: value for name, value in values.items() if _is_plain(value) or value != getattr(named, name, None)}


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float)


def class_names(model: Classifier) -> tuple[str, ...]:
    """Of its answers; none where nobody said, or where its last layer has another number of them by now."""
    if not model.classes:
        return ()
    return model.classes if len(model.classes) == num_answers(model) else ()


def num_answers(model: Classifier) -> int:
    """K, by the last linear layer of its head, which may have been replaced."""
    head = getattr(model, "fc", None)
    linear = [layer for layer in head.modules() if isinstance(layer, nn.Linear)] if isinstance(head, nn.Module) else []
    return linear[-1].out_features if linear else model.num_classes


def _layers(model: Classifier) -> dict[str, nn.Module]:
    """All but dropouts, which a network in evaluation does not use."""
    named = model.named_modules(remove_duplicate=False)
    return {name: layer for name, layer in named if not isinstance(layer, nn.Dropout)}


def _does_the_same(layer: nn.Module | None, built: nn.Module | None) -> bool:
    """By class, strides, paddings, ...; one of torch's layers may have another class that computes as it does."""
    if layer is None or built is None or layer.extra_repr() != built.extra_repr():
        return False
    may_differ = isinstance(built, Classifier) or type(built).__module__.startswith("torch.nn.")
    return type(layer) is type(built) or (may_differ and type(layer).forward is type(built).forward)


def _told(layer: nn.Module | None) -> str:
    return "none" if layer is None else f"{type(layer).__name__}({layer.extra_repr()})"


def read_config(path: Path) -> Config:
    """What `Config.to_json` wrote.

    Raises:
        ValueError: a damaged file, or one that describes no network; the message names it.
    """
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        for name in ("thresholds", "classes"):
            if not isinstance(held[name], list):
                raise ValueError(f"{name} {held[name]!r} received; a list is expected")
        spec = {key: tuple(value) if isinstance(value, list) else value for key, value in held["spec"].items()}
        preprocessing, thresholds = Preprocessing(**held["preprocessing"]), tuple(map(float, held["thresholds"]))
        return Config(held["model"], spec, preprocessing, thresholds, tuple(held["classes"]))
    except OSError:
        raise
    except Exception as error:  # any value may be of any kind
        raise ValueError(f"{path} is damaged: {told(error)}") from error
