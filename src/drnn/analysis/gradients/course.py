"""A short training of one variant, measured as it goes: gradients, and errors under several sets of statistics."""

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from drnn.analysis.gradients.errors import statistics_errors, test
from drnn.analysis.gradients.probe import Readings, read_gradients
from drnn.analysis.gradients.variants import Site, build_variant
from drnn.data import Dataset, Normalize
from drnn.models import Classifier
from drnn.training import Recipe
from drnn.training.distributed import Workers
from drnn.training.optimizer import set_lr
from drnn.training.schedule import learning_rate
from drnn.training.session import Session


@dataclass(frozen=True)
class Plan:
    """What `follow` does, the same for every variant.

    Attributes:
        recipe: network, schedule, optimiser, augmentation and seed; its gates are left out.
        measure_every: steps between two readings of the gradients; the first is before the first step.
        overrides: fields of the network's specification to change.
    """

    recipe: Recipe
    measure_every: int = 10
    overrides: dict = field(default_factory=dict)

    def __post_init__(self):
        if self.measure_every < 1:
            raise ValueError(f"measure_every {self.measure_every} received; it is 1 step or more")


@dataclass
class Course:
    """What one variant went through.

    Attributes:
        variant: its name.
        steps: M step numbers at which ``readings`` were taken, 0 being before training.
        readings: one each.
        loss: of every step.
        epochs: one dictionary an epoch with the keys of a run's metrics, and ``errors``, the test error under each set
            of normalising statistics: "running" as evaluation does it; "batch", the test batch's own; "recalibrated",
            the network's running statistics averaged anew over training batches; and for the recursive networks
            "own" or "mixed", recalibrated statistics for every loop, or common to a norm's loops.
        stopped: step at which the loss was no longer finite, None if it stayed so.
    """

    variant: str
    steps: list[int] = field(default_factory=list)
    readings: list[Readings] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    epochs: list[dict] = field(default_factory=list)
    stopped: int | None = None

    def stack(self, name: str) -> np.ndarray:
        """A field of the readings over time, ``(M, S)`` or ``(M, B)``."""
        return np.stack([getattr(reading, name) for reading in self.readings])


def at_start(plan: Plan, variant: str, dataset: Dataset) -> Course:
    """One reading of the untrained ``variant``, on the first batch of ``dataset`` as it is."""
    model, sites = _build(plan, variant, dataset)
    size = plan.recipe.batch_size
    images, labels = Normalize.of(dataset)(dataset.train_images[:size]), dataset.train_labels[:size]
    return Course(variant, [0], [read_gradients(model, sites, lambda: cross_entropy(model(images), labels))])


def follow(plan: Plan, variant: str, dataset: Dataset) -> Course:
    """Train ``variant`` for ``plan.recipe.epochs`` on the training images of ``dataset``, measuring as it goes.

    All variants see the same batches in the same order, with the same augmentation.

    Raises:
        ValueError: a network without loops, or fewer training images than one batch.
    """
    recipe, course = plan.recipe, Course(variant)
    model, sites = _build(plan, variant, dataset)
    session = Session(recipe, model, dataset, Workers(dataset.train_images.device))
    while session.epoch < recipe.epochs:
        losses, errors = _train(plan, course, session, sites)
        if course.stopped is not None:
            break
        course.epochs.append(_epoch_metrics(recipe, model, variant, dataset, session.epoch, losses, errors))
        session.end_epoch()
    return course


def _build(plan: Plan, variant: str, dataset: Dataset) -> tuple[Classifier, list[Site]]:
    torch.manual_seed(plan.recipe.seed)
    options = {"input_size": dataset.image_size, "num_classes": len(dataset.classes), **plan.overrides}
    model, sites = build_variant(plan.recipe.model, variant, **options)
    model.to(dataset.train_images.device).train()
    return model, sites


def _train(plan: Plan, course: Course, session: Session, sites: list[Site]) -> tuple[list, list]:
    model, normalize = session.model, session.step.normalize
    losses, errors = [], []
    for index, (images, labels) in enumerate(session.rest_of_epoch()):
        x, step = normalize(images), len(course.loss)
        if step % plan.measure_every == 0:
            course.steps.append(step)
            course.readings.append(read_gradients(model, sites, lambda x=x, y=labels: cross_entropy(model(x), y)))
        set_lr(session.optimizer, learning_rate(plan.recipe, session.time_of(index)))
        result = session.step(images, labels, 0.0)
        if not math.isfinite(float(result.loss)):
            course.stopped = step
            break
        course.loss.append(float(result.loss))
        losses.append(float(result.loss))
        errors.append(float(result.wrong) / len(labels))
    return losses, errors


def _epoch_metrics(recipe: Recipe, model, variant: str, dataset: Dataset, epoch: int, losses, errors) -> dict:
    result = test(model, dataset)
    under = statistics_errors(model, variant, dataset, recipe)
    return {
        "epoch": epoch + 1,
        "lr": learning_rate(recipe, epoch + 1),
        "train_loss": float(np.mean(losses)),
        "train_error": float(np.mean(errors)),
        "test_loss": result.loss if math.isfinite(result.loss) else None,
        "test_error": 1 - result.acc1,
        "errors": {"running": 1 - result.acc1, **under},
    }


def first_images(dataset: Dataset, train: int, test: int) -> Dataset:
    """The first images of each part, for a course that must be short; 0 takes all.

    Raises:
        ValueError: a number below 0.

    Example:
        >>> from drnn.data import load_dataset
        >>> len(first_images(load_dataset("digits"), 100, 0).train_images)
        100
    """
    if train < 0 or test < 0:
        raise ValueError(f"{train} training and {test} test images received; each is 0, for all, or more")
    return replace(
        dataset,
        train_images=dataset.train_images[: train or None],
        train_labels=dataset.train_labels[: train or None],
        test_images=dataset.test_images[: test or None],
        test_labels=dataset.test_labels[: test or None],
    )
