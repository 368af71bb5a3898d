"""Weights that a run begins from: another network's, but for gates and a last layer of its own."""

from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from drnn.models import Classifier
from drnn.weights.files import WEIGHTS, fill, fingerprint, read_weights
from drnn.weights.tied import is_static_for, names_of, tied


class Beginning(NamedTuple):
    """SHA-256 of the file of weights, the layers that are not of it, and whether it is of a static network."""

    sha256: str
    fresh: tuple[str, ...]
    tied: bool = False


def begin_from(model: Classifier, place: str) -> Beginning:
    """Fill ``model`` with the weights of another network of the same body.

    Gates of recursive blocks that only one of the two has do not count, nor does a last layer for another number of
    classes: the model's own stay as they are. A recursive network begins from a static one's weights as
    `drnn.weights.load_static` says, but names and shapes alone are compared.

    Args:
        model: the network of a run.
        place: folder of a run or of a saved network, or a file that `drnn.weights.read_weights` opens.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: damaged weights, or those of another network; the model is left as it was.
    """
    path = Path(place) / WEIGHTS if Path(place).is_dir() else Path(place)
    if not path.is_file():
        raise FileNotFoundError(
            f"initial_weights {place} received; there is no file {path}: give the folder of a finished run or of a "
            "saved network, or a file of weights"
        )
    there, own = read_weights(path), model.state_dict()
    static = is_static_for(model, there)
    if static:
        there = tied(model, there)
    gates = names_of(model, "gate")
    taken = {name: tensor for name, tensor in there.items() if name in own or not name.startswith(gates)}
    fresh = {name: tensor for name, tensor in own.items() if _begins_fresh(name, tensor, there, gates)}
    fill(model, taken | fresh, str(path))
    layers = dict.fromkeys(name.rpartition(".")[0] for name in fresh)
    return Beginning(fingerprint(path.parent, path.name), tuple(layers), static)


def _begins_fresh(name: str, own: Tensor, there: dict[str, Tensor], gates: tuple[str, ...]) -> bool:
    """Whether an entry of the model's state stays: one of a gate that is not there, or of another number of classes."""
    if name not in there:
        return name.startswith(gates)
    return name.startswith("fc.") and own.shape != there[name].shape and own.shape[1:] == there[name].shape[1:]
