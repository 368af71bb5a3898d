"""A trained run with its own gates on its own test images, against a static network with fresh weights."""

from pathlib import Path

import torch
from torch import Tensor

from drnn.bench.pairs import Pair, refuse_gates, refuse_open, refuse_sizes
from drnn.bench.subjects import Case, build, in_form, is_foreign, max_macs_of
from drnn.core import gates_of
from drnn.costs import count_costs
from drnn.data import AnyDataset, Normalize, Share
from drnn.models import Classifier
from drnn.training.checkpoint import load_run


def trained_pair(case: Case) -> Pair:
    """The run of ``case.first``, and the static network built for its images and classes.

    What gates answer is taken from a run of the very batches before they are timed: they answer alike each time.

    Raises:
        FileNotFoundError: no finished run in the folder, or no data.
        ValueError: no gates, gates that draw lots in evaluation, no test images, or a second network that has gates or
            takes images of another size.
    """
    folder = Path(case.first)
    model, _, data = load_run(folder, case.data_root)
    refuse_open(model, case.first)
    refuse_lots(model, case.first)
    refuse_gates(case.second)
    if is_foreign(case.second):
        refuse_sizes(case.first, data.image_size, case.second)
        options = {}
    else:
        options = {"num_classes": model.num_classes, "input_size": data.image_size}
    costs = count_costs(model, data.image_size)
    second = build(case.second, "plain", case.seed, **options)
    static = max_macs_of(case.second) if is_foreign(case.second) else count_costs(second).max_macs
    first = in_form(model, case.form, case.device)
    second = second.to(case.device) if is_foreign(case.second) else in_form(second, case.form, case.device)
    batches = batches_of(data, case.batch_size, case.rounds, case.device)
    with torch.inference_mode():
        records = [first.forward_with_gates(x)[1] for x in batches]
    return Pair(
        first=first,
        second=second,
        costs=costs,
        static_macs=static,
        batches=batches,
        run=lambda turn: first(batches[turn]),
        records=records,
        gates="as trained",
    )


def refuse_lots(model: Classifier, first: str) -> None:
    """Gates that draw lots execute other loops in every run, so nobody knows which were timed.

    Raises:
        ValueError: such gates.
    """
    if any(gate.random_in_evaluation for gate in gates_of(model).values()):
        raise ValueError(f"{first} has gates that draw lots in evaluation; time a run whose gates do not")


def batches_of(data: AnyDataset, batch_size: int, rounds: int, device: str) -> tuple[Tensor, ...]:
    """Test images as the network takes them, spread evenly over all; from the start again where there are too few.

    Returns:
        ``rounds`` batches ``(batch_size, C, H, W)``.

    Raises:
        ValueError: no test images.
    """
    count, parts, found = batch_size * rounds, [], 0
    if data.num_test < 1:
        raise ValueError(f"{data.name} has no test images; a run is timed on those of its data set")
    for images, _ in data.test_batches(64, Share(0, max(1, data.num_test // count))):
        parts.append(images)
        found += len(images)
        if found >= count:
            break
    images = torch.cat(parts)
    images = images[torch.arange(count) % len(images)]
    return Normalize.of(data)(images).to(device).split(batch_size)
