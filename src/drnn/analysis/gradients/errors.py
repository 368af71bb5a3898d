"""Test errors of one network under several sets of normalising statistics."""

from collections.abc import Iterator

import torch
from torch import Tensor

from drnn.analysis.gradients.statistics import recalibrate, with_mixed_statistics, with_own_statistics
from drnn.data import Dataset, Normalize
from drnn.models import Classifier
from drnn.training import Evaluation, Recipe, evaluate

CALIBRATION_BATCHES = 8


def statistics_errors(model: Classifier, variant: str, dataset: Dataset, recipe: Recipe) -> dict[str, float]:
    """Test error of ``model``, whose state stays as it is, under other normalising statistics; see `Course`."""
    batches = list(_calibration(dataset, recipe))
    candidates = {"recalibrated": recalibrate(model, batches)}
    if variant == "naive":
        candidates["own"] = recalibrate(with_own_statistics(model), batches)
    if variant == "lvbn":
        candidates["mixed"] = with_mixed_statistics(candidates["recalibrated"])
    errors = {name: 1 - test(candidate, dataset).acc1 for name, candidate in candidates.items()}
    return {"batch": _batch_error(model, dataset, recipe.batch_size), **errors}


def _calibration(dataset: Dataset, recipe: Recipe) -> Iterator[Tensor]:
    normalize, size = Normalize.of(dataset), recipe.batch_size
    for batch in dataset.train_images[: CALIBRATION_BATCHES * size].split(size):
        yield normalize(batch)


def test(model: Classifier, dataset: Dataset) -> Evaluation:
    """Evaluate on the test part."""
    return evaluate(model, dataset.test_images, dataset.test_labels, Normalize.of(dataset))


@torch.no_grad()
def _batch_error(model: Classifier, dataset: Dataset, size: int) -> float:
    """Error when every test batch is normalised by itself, as in training; shuffled, so that batches mix classes."""
    twin, normalize = recalibrate(model, ()).train(), Normalize.of(dataset)
    wrong, order = 0, torch.randperm(dataset.num_test, generator=torch.Generator().manual_seed(0))
    for rows in order.split(size):
        logits = twin(normalize(dataset.test_images[rows]))
        wrong += int((logits.argmax(1) != dataset.test_labels[rows]).sum())
    return wrong / len(dataset.test_images)
