"""Weights that a run begins from: another network's, but for gates and a last layer of its own."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from drnn.models import Classifier
from drnn.training.network import named_model
from drnn.training.run_folder import RECIPE, read_recipe
from drnn.weights.config import read_config
from drnn.weights.files import WEIGHTS, check_fit, fingerprint, read_weights
from drnn.weights.folder import CONFIG
from drnn.weights.settings import has_settings, refuse_other_settings
from drnn.weights.tied import is_static_for, layers_of_both, names_of, tied


class Beginning(NamedTuple):
    """SHA-256 of the file of weights, the layers that are not of it, and whether it is of a static network."""

    sha256: str
    fresh: tuple[str, ...]
    tied: bool = False


def begin_from(model: Classifier, place: str) -> Beginning:
    """Fill ``model`` with the weights of another network of the same body.

    Gates of recursive blocks that only one of the two has do not count, nor does a last layer for another number of
    classes: the model's own stay as they are. A recursive network begins from a static one's weights as
    `drnn.weights.load_static` says. Of a file, names and shapes alone are compared; a folder tells strides and the
    like, too.

    Args:
        model: the network of a run.
        place: folder of a run or of a saved network, or a file that `drnn.weights.read_weights` opens.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: damaged files, or weights of another network, or of one whose layers compute otherwise; the model is
            left as it was.
    """
    path = beginning_file(place)
    there, own = read_weights(path), model.state_dict()
    static = is_static_for(model, there)
    if static:
        there = tied(model, there)
    gates = names_of(model, "gate")
    taken = {name: tensor for name, tensor in there.items() if name in own or not name.startswith(gates)}
    fresh = {name: tensor for name, tensor in own.items() if _begins_fresh(name, tensor, there, gates)}
    check_fit(model, taken | fresh, str(path))
    if Path(place).is_dir() and (network := _network_in(Path(place))) is not None:
        pairs = layers_of_both(model, network) if static else _layers_of_one_name(model, network, gates)
        refuse_other_settings(model, network, pairs, str(place))
    model.load_state_dict(taken | fresh)
    layers = dict.fromkeys(name.rpartition(".")[0] for name in fresh)
    return Beginning(fingerprint(path.parent, path.name), tuple(layers), static)


def _begins_fresh(name: str, own: Tensor, there: dict[str, Tensor], gates: tuple[str, ...]) -> bool:
    """Whether an entry of the model's state stays: one of a gate that is not there, or of another number of classes."""
    if name not in there:
        return name.startswith(gates)
    return name.startswith("fc.") and own.shape != there[name].shape and own.shape[1:] == there[name].shape[1:]


def beginning_file(place: str) -> Path:
    """The file of weights that ``initial_weights`` names.

    Raises:
        FileNotFoundError: nothing there.
    """
    path = Path(place) / WEIGHTS if Path(place).is_dir() else Path(place)
    if not path.is_file():
        raise FileNotFoundError(
            f"initial_weights {place} received; there is no file {path}: give the folder of a finished run or of a "
            "saved network, or a file of weights"
        )
    return path


def _network_in(folder: Path) -> Classifier | None:
    """The network of a saved one or of a run, without weights; None where the folder does not say what it is."""
    if (folder / CONFIG).is_file():
        return read_config(folder / CONFIG).on_meta()
    if (folder / RECIPE).is_file():
        with torch.device("meta"):
            return named_model(read_recipe(folder))
    return None


def _layers_of_one_name(model: nn.Module, other: nn.Module, gates: tuple[str, ...]) -> list[tuple[str, str]]:
    own = {name for name, layer in model.named_modules() if has_settings(layer) and not name.startswith(gates)}
    return [(name, name) for name, layer in other.named_modules() if name in own and has_settings(layer)]
