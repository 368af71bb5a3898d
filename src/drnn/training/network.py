"""The network of a run: built by its recipe, and its weights on disk."""

from pathlib import Path

from safetensors.torch import save_file
from torch import nn

from drnn.core import gates_of
from drnn.data import Source
from drnn.models import Classifier, Preprocessing, create_model, model_spec, zero_init_loops
from drnn.models.registry import has_loops
from drnn.storage import write_atomically
from drnn.training.recipe import Recipe
from drnn.weights.files import fill, read_weights

OF_GATES = ("target_rate", "gate_noise", "norm", "gate")  # fields of a recipe, and of a network's specification


def build_model(recipe: Recipe, source: Source) -> Classifier:
    """The recipe's network for the data set's classes and images, freshly initialised.

    Raises:
        ValueError: a model that there is not, a part of recursive blocks for a network in which no block loops, or a
            pass with every loop for one that has no gates.
    """
    model = named_model(recipe, num_classes=len(source.classes), input_size=source.image_size)
    if recipe.zero_init_loops:
        if not has_loops(model_spec(recipe.model)):
            raise ValueError(f"zero_init_loops received; no block of this {recipe.model} loops, so leave it out")
        zero_init_loops(model)
    if recipe.every_loop_weight and not gates_of(model):
        raise ValueError(
            f"every_loop_weight {recipe.every_loop_weight} received; no gate of this {recipe.model} leaves loops "
            "out, so leave it out"
        )
    model.preprocessing = Preprocessing(source.image_size, source.mean, source.std)
    model.classes = tuple(source.classes)
    return model


def named_model(recipe: Recipe, **data: object) -> Classifier:
    """The network that a recipe names, with its gates and norms, freshly initialised.

    Args:
        recipe: which one.
        data: ``num_classes`` and ``input_size``; those of the network's name without them.

    Raises:
        ValueError: a model that there is not, or a part of recursive blocks for a network in which no block loops.
    """
    asked = {field: value for field in OF_GATES if (value := getattr(recipe, field)) is not None}
    options = asked
    if recipe.gate == "open":
        if not has_loops(model_spec(recipe.model)):
            raise ValueError(f"gate 'open' received; no block of this {recipe.model} loops, so leave it out")
        options = {**asked, "gate": None, "target_rate": None}
    try:
        return create_model(recipe.model, **data, **options)
    except ValueError as error:
        if not options:
            raise
        given = ", ".join(f"{field} {value!r}" for field, value in asked.items())
        raise ValueError(f"{error}. The recipe gives {given}; null leaves a field out") from error


def save_weights(path: Path, model: nn.Module) -> None:
    """Write the weights atomically."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_atomically(path, lambda part: save_file(state, part))


def load_weights(path: Path, model: Classifier) -> None:
    """Fill ``model`` with weights from a file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged file, or names, shapes or kinds of number of another network.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} has no {path.name}; give the folder of a finished run")
    fill(model, read_weights(path), str(path))
