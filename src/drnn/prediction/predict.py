"""Answers for image files, each with what it cost."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from drnn.costs import Costs, count_costs
from drnn.data import Normalize
from drnn.data.transfer import to_device
from drnn.models import Classifier, Preprocessing
from drnn.models.refusals import refuse_training
from drnn.prediction.images import UnreadableImage, check_channels, read_image
from drnn.training.evaluation import same_noise
from drnn.weights.config import num_answers


@dataclass(frozen=True)
class Prediction:
    """The answer for one file; ``problem`` is set, and the rest empty, where it could not be read.

    Attributes:
        file: as it was named.
        label: the class's name.
        confidence: softmax probability, in 0..1.
        loops: executed, of all blocks.
        macs: multiply-adds, gates included.
        problem: why there is no answer.
    """

    file: str
    label: str | None = None
    confidence: float | None = None
    loops: int | None = None
    macs: int | None = None
    problem: str | None = None


def predict_files(
    model: Classifier,
    files: Iterable[Path],
    classes: tuple[str, ...],
    preprocessing: Preprocessing,
    batch_size: int = 32,
    costs: Costs | None = None,
) -> Iterator[Prediction]:
    """Classify files in their order, ``batch_size`` at a time.

    Args:
        model: in evaluation mode; an optimised one needs ``costs``.
        files: of any kind Pillow reads.
        classes: K names.
        preprocessing: what images go through first, their size included.
        batch_size: images at a time.
        costs: of the plain network for images of that size, where ``model`` is optimised.

    Raises:
        ValueError: at once, for a network in training mode, or whose images have neither 1 nor 3 channels; for another
            number of names than it has classes, or a batch of no image.
    """
    check_channels(preprocessing.size)
    refuse_training(model, "its answers would depend on what else is in the batch")
    if len(classes) != (answers := num_answers(model)):
        raise ValueError(f"{len(classes)} classes received for {model.name}, which has {answers}; name each once")
    if batch_size < 1:
        raise ValueError(f"batch_size {batch_size} received; give 1 or more")
    costs = costs or count_costs(model, preprocessing.size)
    return _answers(model, iter(files), classes, preprocessing, batch_size, costs)


def _answers(
    model: Classifier,
    files: Iterator[Path],
    classes: tuple[str, ...],
    preprocessing: Preprocessing,
    batch_size: int,
    costs: Costs,
) -> Iterator[Prediction]:
    prepare = Normalize.of(preprocessing)
    while group := list(islice(files, batch_size)):
        read = [_read(path, preprocessing.size) for path in group]
        usable = [image for image in read if isinstance(image, Tensor)]
        answers = iter(_classify(model, usable, classes, prepare, costs))
        for path, image in zip(group, read, strict=True):
            good = isinstance(image, Tensor)
            yield Prediction(str(path), *next(answers)) if good else Prediction(str(path), problem=image)


def _read(path: Path, size: tuple[int, int, int]) -> Tensor | str:
    try:
        return read_image(path, size)
    except UnreadableImage as error:
        return str(error)


def _classify(
    model: Classifier, images: list[Tensor], classes: tuple[str, ...], prepare: Normalize, costs: Costs
) -> list[tuple[str, float, int, int]]:
    if not images:
        return []
    device = next(model.parameters()).device
    with torch.inference_mode(), same_noise(device):
        logits, record = model.forward_with_gates(prepare(to_device(torch.stack(images), device)))
    confidence, best = logits.softmax(1).max(1)
    columns = (best, confidence, record.executed.sum(1), costs.macs_per_image(record))
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [(classes[label], sure, loops, macs) for label, sure, loops, macs in rows]
