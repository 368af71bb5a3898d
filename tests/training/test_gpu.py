"""Training on a GPU: the recorded step is the plain one, and a run there ends as well as it goes on.

The step and the learning rate's tensor are tried on a CPU too, as far as they can be.
"""

from dataclasses import replace

import pytest
import torch

from drnn.data.transfer import to_device
from drnn.models import create_model, set_dense
from drnn.training import find_recipe, train
from drnn.training.capture import CapturedStep
from drnn.training.interrupt import Interrupted
from drnn.training.optimizer import load_optimizer, make_optimizer, set_lr
from drnn.training.session import Session

from .test_step import TINY, batch, make_step

KINDS = ["dr_resnet_digits", "resnet_digits", "dr_resnet16_cifar", "aig_resnet110_cifar", "rcnn160_cifar"]


def test_a_resumed_learning_rate_stays_the_tensor_that_a_graph_reads():
    weight = torch.nn.Parameter(torch.ones(2))
    made = [torch.optim.SGD([weight], lr=torch.tensor(0.1), momentum=0.9, fused=True) for _ in range(2)]
    rate = made[1].param_groups[0]["lr"]
    set_lr(made[0], 0.01)
    load_optimizer(made[1], made[0].state_dict())
    assert made[1].param_groups[0]["lr"] is rate
    assert float(rate) == pytest.approx(0.01)


def test_a_rate_without_a_tensor_stays_a_number():
    model = create_model("dr_resnet_digits")
    first, second = (make_optimizer(TINY, model) for _ in range(2))
    set_lr(first, 0.25)
    load_optimizer(second, first.state_dict())
    assert second.param_groups[0]["lr"] == 0.25


@pytest.mark.parametrize("fused", [False, True])
def test_a_resumed_optimizer_computes_updates_in_its_own_way(fused):
    """A run that was begun on a CPU goes on on a GPU, whose graph holds the fused update only, and the other way."""
    weight = torch.nn.Parameter(torch.ones(2))
    there = torch.optim.SGD([weight], lr=0.1, momentum=0.5, fused=not fused, foreach=False)
    here = torch.optim.SGD([weight], lr=0.1, momentum=0.9, fused=fused, foreach=None if fused else True)
    own = {key: here.param_groups[0][key] for key in ("fused", "foreach")}
    load_optimizer(here, there.state_dict())
    assert {key: here.param_groups[0][key] for key in own} == own
    assert here.param_groups[0]["momentum"] == 0.5


def test_what_is_there_already_is_not_moved():
    x = torch.arange(4)
    assert to_device(x, "cpu") is x


@pytest.mark.gpu
def test_a_copy_does_not_wait_for_the_device():
    busy, x = torch.ones(8192, 8192, device="cuda"), torch.arange(1000)
    torch.cuda.synchronize()
    for _ in range(20):
        busy = busy @ busy.clamp(max=1e-4)
    there = to_device(x, "cuda")
    assert not torch.cuda.current_stream().query()
    assert torch.equal(there.cpu(), x)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        *((name, {}) for name in KINDS),
        *(("dr_resnet16_cifar", part) for part in ({"clip_norm": 1.0}, {"accumulate": 2}, {"every_loop_weight": 1.0})),
    ],
)
def test_a_recorded_step_is_the_plain_one(name, changes, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    images, labels = (part.cuda() for part in gpu_batch(name))
    plain, recorded = (gpu_step(name, **changes) for _ in range(2))
    captured = CapturedStep(recorded, images.flip(0), labels.flip(0))
    for turn, (lr, weight) in enumerate(((0.01, 1.0), (0.001, 0.5), (0.01, 2.0))):
        results = []
        for step, run in ((plain, plain), (recorded, captured)):
            torch.manual_seed(turn)
            set_lr(step.optimizer, lr)
            results.append(run(images.roll(turn, 0), labels.roll(turn, 0), weight))
        torch.testing.assert_close(results[1].loss, results[0].loss, rtol=1e-4, atol=1e-4)
        assert torch.equal(results[1].arrived, results[0].arrived)
    for ours, theirs in zip(recorded.model.state_dict().values(), plain.model.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def gpu_batch(name):
    size = create_model(name).input_size
    images = torch.randint(256, (32, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return images, batch()[1]


def gpu_step(name, **changes):
    step = make_step(replace(TINY, model=name, device="cuda", **changes), device="cuda")
    set_dense(step.model).train()
    return step


@pytest.mark.gpu
def test_a_run_on_a_gpu_goes_on_and_learns(tmp_path, monkeypatch):
    """Its learning rate falls after it went on, too, and the summary counts every image's multiply-adds."""
    recipe = replace(
        find_recipe("digits"), epochs=8, held_out=300, schedule="step", milestones=(6,), lr=0.05, device="cuda"
    )
    whole = train(recipe, tmp_path / "whole", progress=False)
    stop_in_epoch(5, monkeypatch)
    with pytest.raises(Interrupted):
        train(recipe, tmp_path / "parts", progress=False)
    parts = train(recipe, tmp_path / "parts", progress=False)
    assert min(whole["acc1"], parts["acc1"]) > 0.9
    assert abs(whole["acc1"] - parts["acc1"]) < 0.05
    assert parts["macs_min"] <= parts["macs_mean"] <= parts["max_macs"]


def stop_in_epoch(epoch, monkeypatch):
    """Ask the run to end in the middle of a 0-based epoch, once."""
    update = Session.update

    def interrupted(session, images, labels):
        update(session, images, labels)
        if session.epoch == epoch and session.batch == 3:
            import os
            import signal

            monkeypatch.undo()
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Session, "update", interrupted)
