"""All three variants in one go, and what is kept of them on disk."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from drnn.analysis.findings import finite, write_arrays
from drnn.analysis.gradients.course import Course, Plan, at_start, follow
from drnn.analysis.gradients.probe import Readings
from drnn.analysis.gradients.variants import VARIANTS
from drnn.data import Dataset
from drnn.models import model_spec
from drnn.provenance import environment
from drnn.storage import write_json

ARRAYS, FACTS = "gradients.npz", "gradients.json"


def study(plan: Plan, dataset: Dataset, train: bool = True, variants: tuple[str, ...] = VARIANTS) -> Iterator[Course]:
    """Follow every variant through the plan's epochs, or read it once before training; yields one when it is done."""
    for variant in variants:
        yield (follow if train else at_start)(plan, variant, dataset)


def noise_dataset(name: str, count: int, seed: int = 0) -> Dataset:
    """``count`` images of uniform noise with random labels, of the size a network was designed for.

    What happens at initialisation does not depend much on the images, so that no data set is needed to see it.

    Example:
        >>> noise_dataset("dr_resnet16_cifar", 4).image_size
        (3, 32, 32)
    """
    spec, generator = model_spec(name), torch.Generator().manual_seed(seed)
    images = torch.randint(256, (count, *spec.input_size), dtype=torch.uint8, generator=generator)
    labels = torch.randint(spec.num_classes, (count,), generator=generator)
    classes, channels = tuple(map(str, range(spec.num_classes))), spec.input_size[0]
    std = (12**-0.5,) * channels
    return Dataset("noise", images, labels, images, labels, classes, (0.5,) * channels, std)


def study_arrays(courses: list[Course]) -> dict[str, np.ndarray]:
    """Steps, losses and readings of all variants, named ``variant/field``; ``(M, S)`` and ``(M, B)`` for M readings."""
    arrays = {}
    for course in courses:
        stacked = {name: course.stack(name) for name in Readings._fields}
        kept = {"steps": np.array(course.steps), "loss": np.array(course.loss), **stacked}
        arrays |= {f"{course.variant}/{name}": values for name, values in kept.items()}
    return arrays


def save_study(folder: Path, plan: Plan, dataset: Dataset, courses: list[Course]) -> None:
    """Write the arrays (``variant/field``) and the facts that go with them."""
    write_arrays(folder / ARRAYS, study_arrays(courses))
    write_json(folder / FACTS, study_facts(plan, dataset, courses))


def study_facts(plan: Plan, dataset: Dataset, courses: list[Course]) -> dict:
    """Recipe, data and numbers to quote."""
    facts = {
        "environment": environment(dataset.train_images.device),
        "recipe": plan.recipe.to_dict(),
        "overrides": {key: list(value) if isinstance(value, tuple) else value for key, value in plan.overrides.items()},
        "dataset": dataset.name,
        "train_images": len(dataset.train_images),
        "test_images": len(dataset.test_images),
        "classes": len(dataset.classes),
        "variants": {course.variant: _facts(course) for course in courses},
    }
    return finite(facts)


def _facts(course: Course) -> dict:
    """Numbers to quote: at the first and at the last reading."""
    return {
        "steps": len(course.loss),
        "stopped": course.stopped,
        "epochs": course.epochs,
        "readings": [_reading(course, place) for place in dict.fromkeys((0, len(course.steps) - 1))],
    }


def _reading(course: Course, place: int) -> dict:
    reading = course.readings[place]
    return {"step": course.steps[place], **{name: getattr(reading, name) for name in Readings._fields}}


def load_study(folder: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """The facts and the arrays that `save_study` wrote.

    Raises:
        FileNotFoundError: no such files in ``folder``.
    """
    for name in (ARRAYS, FACTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} has no {name}; make it with drnn analyze gradients MODEL --out {folder}")
    with np.load(folder / ARRAYS) as arrays:
        return json.loads((folder / FACTS).read_text(encoding="utf-8")), dict(arrays)
