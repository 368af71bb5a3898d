"""From a run folder back to a network."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from drnn.core import gates_of, set_thresholds
from drnn.data import AnyDataset, Normalize
from drnn.models import Classifier
from drnn.training.distributed import choose_device
from drnn.training.network import build_model, load_weights
from drnn.training.recipe import Recipe
from drnn.training.run_data import require_classes
from drnn.training.run_folder import AVERAGE, read_recipe
from drnn.training.trainer import load_data
from drnn.weights.config import read_config
from drnn.weights.files import WEIGHTS
from drnn.weights.folder import CONFIG


class LoadedRun(NamedTuple):
    """A finished run: its network in evaluation mode, what it was trained by, and its data set."""

    model: Classifier
    recipe: Recipe
    dataset: AnyDataset

    @property
    def normalize(self) -> Normalize:
        """From images as the data set holds them to what the network takes."""
        return Normalize.of(self.dataset)


def load_run(folder: Path, data_root: str | None = None, average: bool = False, device: str = "cpu") -> LoadedRun:
    """The network of a finished run in evaluation mode, its recipe, and its data set.

    Of a folder that is a saved network too, as `drnn release` makes it, the gates are at the thresholds saved with it.

    Args:
        folder: the run.
        data_root: where the data set is, if not where the recipe says.
        average: the moving average of the weights, of a run that kept one, instead of the last.
        device: where the network is put: "cpu", "cuda", "auto", ...; the data stays where it is.

    Raises:
        FileNotFoundError: no finished run there, or no data.
        ValueError: a damaged or foreign file, and the message says which; data of other classes than the run's; or a
            device that is not here.
    """
    place = choose_device(device)
    recipe = read_recipe(folder)
    if data_root is not None:
        recipe = replace(recipe, data_root=data_root)
    dataset = load_data(replace(recipe, download=False))  # a wrong place is no place to fetch it to
    require_classes(folder, dataset)
    model = build_model(recipe, dataset)
    if average and (folder / WEIGHTS).is_file() and not (folder / AVERAGE).is_file():
        raise FileNotFoundError(
            f"{folder} has no {AVERAGE}: it kept no moving average (ema_decay), or its weights are one already; "
            "leave --average out"
        )
    load_weights(folder / (AVERAGE if average else WEIGHTS), model)
    _take_thresholds(folder, model)
    return LoadedRun(model.to(place).eval(), recipe, dataset)


def _take_thresholds(folder: Path, model: Classifier) -> None:
    """Whoever opens such a folder as a network gets these, see `drnn.from_pretrained`, so a run has them too."""
    if not (folder / CONFIG).is_file():
        return
    saved, gates = read_config(folder / CONFIG).thresholds, gates_of(model)
    if len(saved) != len(gates):
        raise ValueError(
            f"{folder / CONFIG} has {len(saved)} thresholds, and the run's {model.name} {len(gates)} gates"
        )
    set_thresholds(model, dict(zip(gates, saved, strict=True)))
