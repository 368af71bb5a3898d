"""What a user may name to use a network: a run, a folder of weights, or a name."""

from pathlib import Path
from typing import NamedTuple

import torch

from drnn.budgets.budget import use_budget
from drnn.models import Classifier, Preprocessing, create_model, list_models
from drnn.training.checkpoint import load_run
from drnn.training.run_folder import RECIPE
from drnn.weights import from_pretrained, preprocessing_of
from drnn.weights.config import class_names
from drnn.weights.folder import CONFIG


class OpenedNetwork(NamedTuple):
    """A network, what images go through first, names of its classes, and whether it ever learnt anything."""

    model: Classifier
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    trained: bool


def open_network(
    source: str, data_root: str | None = None, budget: bool = False, only_trained: bool = False
) -> OpenedNetwork:
    """A folder of `drnn.save_pretrained`, a run of ``drnn train``, or a name of ``drnn models`` with fresh weights.

    Of a folder that is both, as `drnn release` makes it, the saved network is taken: that needs no data set.

    Args:
        source: folder or name.
        data_root: where a run's data set is, if not where its recipe says.
        budget: with the thresholds of the folder's ``budget.json``.
        only_trained: refuse a name: its fresh weights would answer by chance.

    Raises:
        ValueError: neither a folder nor a name; a name where only trained weights will do; a budget that is not of
            these weights, or for a network without gates.
        FileNotFoundError: a folder without a network, or without a budget where one was asked for.
    """
    folder = Path(source)
    if folder.is_dir():
        found = _open_folder(folder, data_root)
        if budget:
            use_budget(found.model, folder)
        return found
    if source not in list_models() and (only_trained or "/" in source):
        or_name = "" if only_trained else ", or a name"
        raise FileNotFoundError(f"there is no folder {source}; give a finished run or a folder of weights{or_name}")
    if only_trained:
        raise ValueError(
            f"{source} is no folder here but the name of a network, whose fresh weights would answer by chance; give "
            f"a finished run such as runs/{source}, or a folder of weights"
        )
    if budget:
        raise FileNotFoundError(f"{source} is no folder, so it has no budget; give a run, and see drnn calibrate")
    with torch.random.fork_rng(devices=[]):  # the caller's own numbers stay as they are
        torch.manual_seed(0)
        model = create_model(source).eval()
    return _opened(model, trained=False)


def _open_folder(folder: Path, data_root: str | None) -> OpenedNetwork:
    if (folder / CONFIG).is_file() or not (folder / RECIPE).is_file():
        return _opened(from_pretrained(folder), trained=True)
    return _opened(load_run(folder, data_root).model, trained=True)


def _opened(model: Classifier, trained: bool) -> OpenedNetwork:
    classes = class_names(model) or tuple(map(str, range(model.num_classes)))
    return OpenedNetwork(model, preprocessing_of(model), classes, trained)
