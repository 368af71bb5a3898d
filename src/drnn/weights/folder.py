"""A network as a folder anybody can open: safetensors, how to build it, a card; laid out as Hugging Face's hub does."""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import NamedTuple

from safetensors.torch import save_file

from drnn.core import Gate
from drnn.models import Classifier, create_model, model_spec
from drnn.storage import write_atomically, write_json, write_text
from drnn.weights.card import Card, readme
from drnn.weights.files import fill, read_weights
from drnn.weights.preprocessing import Preprocessing

CONFIG, WEIGHTS, CARD, README = "config.json", "model.safetensors", "card.json", "README.md"


class Pretrained(NamedTuple):
    """A network in evaluation mode, its gates at the thresholds it was saved with, and what surrounds it.

    ``preprocessing`` is what images go through first, ``classes`` the names of its answers, none where not saved.
    """

    model: Classifier
    preprocessing: Preprocessing
    classes: tuple[str, ...]


def save_pretrained(
    model: Classifier,
    folder: str | Path,
    preprocessing: Preprocessing | None = None,
    card: Card | None = None,
    classes: Sequence[str] = (),
) -> None:
    """Write a folder that `from_pretrained` opens, and that ``hf upload`` publishes as it is.

    Args:
        model: a network of `create_model`; its gates' thresholds are kept too.
        folder: made where it is missing.
        preprocessing: the usual one of the network's size by default.
        card: what is known of it; without one the card has only what the network itself tells.
        classes: names of the K answers, where they have any.

    Raises:
        ValueError: a network that has no name to build it by, or names for another number of answers.
    """
    if len(classes) not in (0, model.num_classes):
        raise ValueError(f"{len(classes)} names of classes received for a network of {model.num_classes}")
    folder, preprocessing = Path(folder), preprocessing or Preprocessing.usual(model)
    card = card or Card.of(model)
    config = {**_config(model, preprocessing), "classes": list(classes)}
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    write_atomically(folder / WEIGHTS, lambda part: save_file(state, part, metadata={"format": "pt"}))
    write_json(folder / CONFIG, config)
    write_json(folder / CARD, asdict(card))
    write_text(folder / README, readme(card))


def from_pretrained(source: str | Path, revision: str | None = None) -> Classifier:
    """The network of a local folder, or of a repository on Hugging Face's hub.

    Args:
        source: a folder of `save_pretrained`, which needs no network; or ``owner/name``.
        revision: of the repository.

    Raises:
        FileNotFoundError: a folder without the files, or no such repository.
        ValueError: damaged files.
    """
    return load_pretrained(source, revision).model


def load_pretrained(source: str | Path, revision: str | None = None) -> Pretrained:
    """The same, with the preprocessing and the names of the classes."""
    folder = Path(source) if Path(source).is_dir() else _download(str(source), revision)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} has no {name}; drnn.save_pretrained writes such a folder")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        model = create_model(config["model"], **_restored(config["model"], config["spec"]))
        preprocessing = Preprocessing(**config["preprocessing"])
        thresholds = [float(value) for value in config["thresholds"]]
        classes = tuple(map(str, config["classes"]))
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder / CONFIG} is damaged: {type(error).__name__} {error}") from error
    fill(model, read_weights(folder / WEIGHTS), str(folder / WEIGHTS))
    gates = [module for module in model.modules() if isinstance(module, Gate)]
    if len(gates) != len(thresholds):
        raise ValueError(f"{folder / CONFIG} has {len(thresholds)} thresholds; {model.name} has {len(gates)} gates")
    for gate, value in zip(gates, thresholds, strict=True):
        gate.threshold.fill_(value)
    return Pretrained(model.eval(), preprocessing, classes)


def _config(model: Classifier, preprocessing: Preprocessing) -> dict:
    """Name, every field that differs from the name's own, preprocessing, thresholds (infinite ones as text)."""
    own = model_spec(model.name)  # ValueError where the name is not one of the registry's
    spec = getattr(model, "spec", own)
    differs = {field.name for field in fields(spec) if getattr(spec, field.name) != getattr(own, field.name)}
    thresholds = [float(gate.threshold) for gate in model.modules() if isinstance(gate, Gate)]
    return {
        "library_name": "drnn",
        "model": model.name,
        "spec": {name: getattr(spec, name) for name in sorted(differs | {"num_classes", "input_size"})},
        "preprocessing": preprocessing.to_dict(),
        "thresholds": [value if abs(value) != float("inf") else str(value) for value in thresholds],
    }


def _restored(name: str, spec: dict) -> dict:
    """Lists of JSON back to the tuples that specifications hold."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in spec.items()}


def _download(repository: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=[CONFIG, WEIGHTS, CARD, README]))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise FileNotFoundError(
            f"{repository} is no local folder, and no repository that can be reached: {str(error).splitlines()[0]}"
        ) from error
