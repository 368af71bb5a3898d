"""The one update path: what a step does to weights, averages and sums."""

import copy
from dataclasses import replace

import pytest
import torch

from drnn.core import GateRecord
from drnn.data import Normalize
from drnn.models import create_model
from drnn.training import find_recipe
from drnn.training.capture import rehearse
from drnn.training.distributed import Workers
from drnn.training.network import build_model
from drnn.training.optimizer import WeightAverage, make_optimizer, set_lr
from drnn.training.session import Session
from drnn.training.step import Step, StepResult
from drnn.training.tally import Tally
from drnn.training.trainer import load_data

TINY = replace(find_recipe("digits"), epochs=1, batch_size=128, held_out=1000, threads=1, warmup_epochs=0.5)
HERE = Workers(torch.device("cpu"))


def make_session(**changes):
    recipe = replace(TINY, **changes)
    data = load_data(recipe)
    torch.manual_seed(0)
    return Session(recipe, build_model(recipe, data), data, HERE)


def make_step(recipe, seed=0, device="cpu"):
    torch.manual_seed(seed)
    options = {"gate": None, "target_rate": None} if recipe.gate == "open" else {}
    model = create_model(recipe.model, **options).to(device)
    channels = model.input_size[0]
    normalize = Normalize((0.3,) * channels, (0.3,) * channels)
    step = Step(recipe, model, make_optimizer(recipe, model), normalize, Workers(torch.device(device)))
    set_lr(step.optimizer, 0.1)
    return step


def batch(count=32):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 1, 8, 8), dtype=torch.uint8, generator=generator)
    return images, torch.arange(count) % 10


def freeze_norms(model):
    """Norms by their running statistics, so that an image's gradient does not depend on its batch."""
    for module in model.train().modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()


def test_a_step_lowers_the_loss():
    session = make_session()
    session.model.train()
    images, labels = session.source.train_images[:100], session.source.train_labels[:100]
    set_lr(session.optimizer, 0.02)
    losses = [float(session.step(images, labels, 1.0).loss) for _ in range(15)]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_tells_the_cross_entropy_from_the_rate_loss(accumulate):
    step = make_step(replace(TINY, model="dr_resnet_digits", accumulate=accumulate))
    found = step(*batch(), 3.0)
    step = make_step(replace(TINY, model="dr_resnet_digits", accumulate=accumulate))
    plain = step(*batch(), 0.0)
    assert plain.loss.item() == plain.cross_entropy.item() == found.cross_entropy.item()
    rate_losses = (1 - step.model.target_rate) ** 2
    assert found.loss.item() - found.cross_entropy.item() == pytest.approx(3 * rate_losses, rel=1e-4)  # all gates open


def test_accumulating_gives_the_gradient_of_the_whole_batch():
    recipe, (images, labels) = replace(TINY, model="resnet_digits", target_rate=None), batch()
    gradients, results = [], []
    for accumulate in (1, 4):
        step = make_step(replace(recipe, accumulate=accumulate))
        freeze_norms(step.model)
        results.append(step(images, labels, 0.0))
        gradients.append([parameter.grad for parameter in step.model.parameters()])
    for whole, parts in zip(*gradients, strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)
    assert results[0].images == results[1].images == 32
    torch.testing.assert_close(results[1].loss, results[0].loss)
    assert results[1].wrong == results[0].wrong


@pytest.mark.parametrize("begun", [False, True])
def test_a_rehearsal_leaves_no_trace(begun):
    """What a graph's recording warms up with is undone, momentum of a resumed run included."""
    images, labels = batch()
    states = []
    for rehearsed in (False, True):
        step = make_step(TINY)
        step.model.train()
        if begun:
            step(images, labels, 1.0)
        if rehearsed:
            rehearse(step, images.flip(0), labels, 1.0)
        for _ in range(2):
            step(images, labels, 1.0)
        moments = [state["momentum_buffer"] for state in step.optimizer.state.values()]
        states.append([*step.model.parameters(), *step.model.buffers(), *moments])  # counters that no state keeps, too
    assert all(torch.equal(plain, rehearsed) for plain, rehearsed in zip(*states, strict=True))


def test_clipping_bounds_the_gradient():
    images, labels = batch()
    step = make_step(replace(TINY, clip_norm=1e-3))
    step.model.train()
    step(images, labels, 1.0)
    norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in step.model.parameters()])
    assert float(norm) == pytest.approx(1e-3, rel=1e-3)


def test_decay_spares_norms_and_biases_only_where_asked():
    model = create_model("dr_resnet_digits")
    assert [group["weight_decay"] for group in make_optimizer(TINY, model).param_groups] == [TINY.weight_decay]
    groups = make_optimizer(replace(TINY, decay_norms=False), model).param_groups
    assert [group["weight_decay"] for group in groups] == [TINY.weight_decay, 0.0]
    assert all(parameter.dim() > 1 for parameter in groups[0]["params"])
    assert all(parameter.dim() == 1 for parameter in groups[1]["params"])
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_the_average_follows_the_weights_in_closed_form():
    model = torch.nn.BatchNorm1d(1)
    average = WeightAverage(model, 0.5)
    values = [1.0, 3.0, 2.0]
    expected = 1.0
    for update, value in enumerate(values, start=1):
        with torch.no_grad():
            model.weight.fill_(value)
            model.running_mean.fill_(-value)
        model.num_batches_tracked += 1
        average.update(model)
        decay = min(0.5, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * value
    assert float(average.model.weight) == pytest.approx(expected)
    assert int(average.model.num_batches_tracked) == 3
    assert not average.model.weight.requires_grad


def test_bf16_is_refused_where_it_would_be_emulated():
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        step = make_step(replace(TINY, precision="bf16"))
        step.model.train()
        assert torch.isfinite(step(*batch(), 1.0).loss)
        return
    with pytest.raises(ValueError, match="precision bf16 received, which this cpu device"):
        make_step(replace(TINY, precision="bf16"))


def test_a_step_depends_on_where_it_is_and_not_on_what_was_drawn_before():
    results = []
    for draws in (0, 7):
        session = make_session(gate_noise="training", model="dr_resnet_digits")
        session.model.train()
        torch.rand(draws)
        session.update(session.source.train_images[:128], session.source.train_labels[:128])
        results.append(copy.deepcopy(session.model.state_dict()))
    for name, value in results[0].items():
        assert torch.equal(value, results[1][name]), name


def test_tally_of_nothing_arrived():
    tally, empty = Tally(1), torch.zeros(2, 1)
    record = GateRecord(empty.bool(), empty.bool(), empty, empty)
    counts = record.arrived.sum(0), record.executed.sum(0)
    tally.add(StepResult(torch.tensor(1.0), torch.tensor(0.75), 2, torch.tensor(1), *counts))
    assert tally.means() == {
        "train_loss": 1.0, "train_cross_entropy": 0.75, "train_error": 0.5, "mean_loops": 0.0, "executed_rates": [None],
    }  # fmt: skip


def test_tally_counts_images_exactly():
    tally = Tally(2)
    for loss, images in ((1.0, 3), (2.0, 1)):
        losses, counts = (torch.tensor(loss), torch.tensor(loss / 2)), (torch.tensor([4, 2]), torch.tensor([2, 1]))
        tally.add(StepResult(*losses, images, torch.tensor(1), *counts))
    assert tally.means() == {
        "train_loss": 1.25, "train_cross_entropy": 0.625, "train_error": 0.5, "mean_loops": 1.5,
        "executed_rates": [0.5, 0.5],
    }  # fmt: skip


def test_a_run_from_before_the_cross_entropy_was_told_apart_goes_on():
    tally, before = Tally(1), torch.tensor([4.0, 8.0, 1.0, 4.0, 2.0], dtype=torch.float64)
    tally.restore(before)
    tally.add(
        StepResult(torch.tensor(2.0), torch.tensor(1.0), 4, torch.tensor(0), torch.tensor([4]), torch.tensor([4]))
    )
    assert tally.means() == {"train_loss": 2.0, "train_error": 0.125, "mean_loops": 0.75, "executed_rates": [0.75]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 10_000}, "batch_size 10000 received for 198 training images"),
        ({"sync_norms": True}, "sync_norms received on the CPU"),
    ],
)
def test_what_cannot_be_run_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_session(**changes)
