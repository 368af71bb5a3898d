"""Whom to ask: a run's network and the images it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from drnn.analysis.answers import Answers, answers_of
from drnn.costs import Costs, count_costs
from drnn.data import Dataset, Normalize, StreamedDataset
from drnn.models import Classifier
from drnn.training import Recipe, evaluate
from drnn.training.checkpoint import load_run

LARGEST = 1 << 30  # bytes of test images read from files; there are a few copies of them at a time


@dataclass(frozen=True)
class Options:
    """What to look at.

    Attributes:
        images: so many of the test images, the first, or of a data set that is read from files spread evenly over all;
            0 for all.
        data_root: where the data set is, if not where the recipe says.
        logs: further run folders whose logs Figure 6 shows.
        course_epochs: epochs over which naive recursion, LVBN and the unrolled network are trained and measured; 0
            measures them at initialisation alone.
        device: to run the network on.
    """

    images: int = 0
    data_root: str | None = None
    logs: tuple[Path, ...] = ()
    course_epochs: int = 0
    device: str = "cpu"

    def __post_init__(self):
        if self.images < 0 or self.course_epochs < 0:
            raise ValueError(f"images {self.images} and course_epochs {self.course_epochs} received; each is 0 or more")


@dataclass(frozen=True)
class Subject:
    """A network and the test images it is asked about, on one device."""

    model: Classifier
    dataset: Dataset

    @cached_property
    def costs(self) -> Costs:
        """Of one image, counted once."""
        return count_costs(self.model, self.dataset.image_size)

    def ask(self, images: Tensor | None = None) -> Answers:
        """Its answers about the test images, or about others with the same labels."""
        data = self.dataset
        images = data.test_images if images is None else images
        result = evaluate(self.model, images, data.test_labels, Normalize.of(data), costs=self.costs)
        return answers_of(result, data.classes, self.model.target_rate)


def load_subject(folder: Path, options: Options) -> tuple[Subject, Recipe]:
    """The network of a run with the images to ask it about, and its recipe.

    Of a data set that is read from files a batch of training images is kept, for the readings of gradients.

    Raises:
        FileNotFoundError: as `drnn.training.checkpoint.load_run`.
        ValueError: likewise; or more test images from files than memory should hold, or a course on such data.
    """
    model, recipe, dataset = load_run(folder, options.data_root)
    if isinstance(dataset, StreamedDataset):
        dataset = _in_memory(dataset, folder, recipe, options)
    elif options.images:
        count = options.images
        dataset = replace(dataset, test_images=dataset.test_images[:count], test_labels=dataset.test_labels[:count])
    return Subject(model.to(options.device), dataset.to(options.device)), recipe


def _in_memory(dataset: StreamedDataset, folder: Path, recipe: Recipe, options: Options) -> Dataset:
    if options.course_epochs:
        raise ValueError(
            f"course_epochs {options.course_epochs} received; {folder} was trained on {dataset.name}, and a course "
            "needs a data set that stays in memory: leave it out"
        )
    count = min(options.images or dataset.num_test, dataset.num_test)
    size = count * prod(dataset.image_size)
    if size > LARGEST:
        raise ValueError(
            f"{folder} is tested on {count:,} images of {dataset.side} x {dataset.side}, {size / 1e9:.1f} GB, which "
            f"the analysis keeps in memory; give --images, at most {LARGEST // prod(dataset.image_size):,}"
        )
    return dataset.in_memory(recipe.batch_size, count)


def load_others(folders: Sequence[Path], first: Subject, recipe: Recipe, options: Options) -> list[Subject]:
    """The same network of other runs, of other seeds or recipes, to ask about the same images.

    Args:
        folders: the runs.
        first: the subject that they are compared with.
        recipe: its recipe.
        options: those it was loaded with.

    Raises:
        FileNotFoundError: as `load_subject`.
        ValueError: likewise; or a run of another network, or tested on other images.
    """
    found = []
    for folder in folders:
        subject, other = load_subject(folder, options)
        if other.model != recipe.model:
            raise ValueError(f"{folder} is a run of {other.model}; give runs of {recipe.model} to compare with")
        if not torch.equal(subject.dataset.test_images, first.dataset.test_images):
            raise ValueError(f"{folder} was tested on other images; give runs that were tested on the same")
        found.append(replace(subject, dataset=first.dataset))  # one copy for all
    return found
