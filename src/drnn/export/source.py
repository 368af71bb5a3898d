"""What a user may name for export: a run, a folder of weights, or a network."""

from pathlib import Path
from typing import NamedTuple

import torch

from drnn.models import Classifier, create_model, list_models
from drnn.training.checkpoint import load_run
from drnn.training.run_folder import RECIPE
from drnn.weights import Preprocessing, load_pretrained


class Source(NamedTuple):
    """A network, what images go through first, and whether it ever learnt anything."""

    model: Classifier
    preprocessing: Preprocessing
    trained: bool


def open_source(source: str, data_root: str | None = None) -> Source:
    """A run of ``drnn train``, a folder of `drnn.save_pretrained`, or a name of ``drnn models`` with fresh weights.

    Args:
        source: folder or name.
        data_root: where a run's data set is, if not where its recipe says.

    Raises:
        ValueError: neither a folder nor a name.
        FileNotFoundError: a folder without a network.
    """
    folder = Path(source)
    if (folder / RECIPE).is_file():
        model, _, dataset = load_run(folder, data_root)
        return Source(model, Preprocessing(dataset.image_size, dataset.mean, dataset.std), trained=True)
    if folder.is_dir():
        return Source(*load_pretrained(folder), trained=True)
    if "/" in source and source not in list_models():
        raise FileNotFoundError(f"there is no folder {source}; give a run, a folder of weights, or a name")
    torch.manual_seed(0)
    model = create_model(source).eval()
    return Source(model, Preprocessing.usual(model), trained=False)
