"""Which of the two evaluation forms is faster here: skipping images, or masking their results."""

from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from drnn.models import Classifier, set_dense
from drnn.models.classifier import GATED
from drnn.models.refusals import refuse_training
from drnn.timing import time_pairs

AnyClassifier = TypeVar("AnyClassifier", bound=Classifier)


@torch.inference_mode()
def choose_form(model: AnyClassifier, example: Tensor, rounds: int = 7) -> AnyClassifier:
    """Skip or mask, whichever is faster for batches like ``example (N, C, H, W)`` on its device; returns the model.

    Skipping waits for the device once a gate; masking never does, but computes every loop of every image. The choice
    holds until it is made again: for another batch size, or after the gates were turned. If timing fails, every block
    keeps the form it had.

    Raises:
        TypeError: an example that is no tensor.
        ValueError: a model in training mode, whose norms would take the statistics of ``example``; or an example that
            is no batch for the model.
    """
    refuse_training(model, "its norms would take the statistics of the example")
    refuse_other_examples(model, example)
    before = [(block, bool(block.dense)) for block in model.modules() if isinstance(block, GATED)]
    skip, mask = partial(_run_as, model, False, example), partial(_run_as, model, True, example)
    try:
        dense = time_pairs(skip, mask, rounds, device=example.device).ratio > 1
    except BaseException:
        for block, was_dense in before:
            block.set_dense(was_dense)
        raise
    set_dense(model, dense)
    return model


def refuse_other_examples(model: Classifier, example: object) -> None:
    """What is timed has to be a batch of images for the model, where it is.

    Raises:
        TypeError: no tensor.
        ValueError: no images in it, or images of another shape, dtype or device.
    """
    if not isinstance(example, Tensor):
        raise TypeError(
            f"example as {type(example).__qualname__} received; give a tensor (N, C, H, W), as torch.as_tensor does"
        )
    if not example.numel():
        raise ValueError(f"example of shape {tuple(example.shape)} received; give one image or more to time")
    model.checked(example)
    device = next(model.parameters(), example).device
    if example.device != device:
        raise ValueError(
            f"example on {example.device} received for {model.name} on {device}; give example.to({str(device)!r})"
        )


def _run_as(model: Classifier, dense: bool, example: Tensor, _: int) -> None:
    set_dense(model, dense)
    model(example)
