"""A run on disk: its recipe, surroundings, metrics, weights and summary."""

import json
from pathlib import Path

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from drnn.data import Dataset
from drnn.models import Classifier, create_model
from drnn.provenance import environment
from drnn.storage import write_atomically, write_json, write_text
from drnn.training.recipe import Recipe, recipe_from_dict

RECIPE, ENVIRONMENT, METRICS = "recipe.yaml", "environment.json", "metrics.jsonl"
WEIGHTS, SUMMARY = "weights.safetensors", "summary.json"
FILES = (RECIPE, ENVIRONMENT, METRICS, WEIGHTS, SUMMARY)


def start_run(folder: Path, recipe: Recipe, overwrite: bool) -> None:
    """Make the folder and write what is known before the first step.

    Raises:
        FileExistsError: it already holds a run, and ``overwrite`` is False.
    """
    present = [name for name in FILES if (folder / name).exists()]
    if present and not overwrite:
        raise FileExistsError(f"{folder} already holds a run; add --overwrite to replace it, or choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    for name in present:
        (folder / name).unlink()
    write_text(folder / RECIPE, yaml.safe_dump(recipe.to_dict(), sort_keys=False))
    write_json(folder / ENVIRONMENT, environment())


def log_metrics(folder: Path, values: dict) -> None:
    """Add one line to the metrics."""
    with open(folder / METRICS, "a", encoding="utf-8") as file:
        file.write(json.dumps(values, allow_nan=False) + "\n")


def save_weights(folder: Path, model: Classifier) -> None:
    """Write the weights atomically."""
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    write_atomically(folder / WEIGHTS, lambda part: save_file(state, part))


def build_model(recipe: Recipe, dataset: Dataset) -> Classifier:
    """The recipe's network for the data set's classes and image size, freshly initialised."""
    options: dict = {"input_size": dataset.image_size}
    if recipe.target_rate is not None:
        options["target_rate"] = recipe.target_rate
    if recipe.gate_noise is not None:
        options["gate_noise"] = recipe.gate_noise
    return create_model(recipe.model, num_classes=len(dataset.classes), **options)


def read_recipe(folder: Path) -> Recipe:
    """The recipe of a run.

    Raises:
        FileNotFoundError: ``folder`` is not a run folder, or its training did not end.
        ValueError: a recipe file that cannot be read.
    """
    for name in (RECIPE, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} has no {name}; give the folder of a finished run, as drnn train writes it"
            )
    try:
        values = yaml.safe_load((folder / RECIPE).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{folder / RECIPE} is damaged: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{folder / RECIPE} is damaged: it holds no fields")
    return recipe_from_dict(values)


def load_weights(folder: Path, model: Classifier) -> None:
    """Fill ``model`` with the run's weights.

    Raises:
        ValueError: a damaged file, or one of another network.
    """
    try:
        state = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise ValueError(f"{folder / WEIGHTS} is damaged or no safetensors file: {error}") from error
    expected = model.state_dict()
    wrong = sorted(expected.keys() ^ state.keys()) or [
        name for name in expected if expected[name].shape != state[name].shape
    ]
    if wrong:
        raise ValueError(
            f"{folder / WEIGHTS} does not fit {model.name}: {len(wrong)} entries differ, first {wrong[:3]}"
        )
    model.load_state_dict(state)
