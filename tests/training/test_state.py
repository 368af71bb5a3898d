"""Checkpoints and metrics on a disk that fails: what is damaged is passed over, and nothing is lost by going on."""

import errno
import io
import json
import os
from contextlib import ExitStack
from dataclasses import replace

import pytest
import torch

from drnn.training import find_recipe, train
from drnn.training.run_folder import METRICS, log_metrics, open_run
from drnn.training.session import Session
from drnn.training.state import checkpoints, load_state, save_state

RECIPE = find_recipe("digits")


@pytest.fixture
def begun(tmp_path):
    """A run of three epochs with its last two checkpoints."""
    with ExitStack() as held:
        open_run(tmp_path, RECIPE, held)
    for epoch in (1, 2, 3):
        save_state(tmp_path, 10 * epoch, {"epoch": epoch, "metrics_bytes": log_metrics(tmp_path, {"epoch": epoch})})
    return tmp_path


def reopened(folder):
    with ExitStack() as held:
        return open_run(folder, RECIPE, held)


def damage(*paths):
    for path in paths:
        path.write_bytes(path.read_bytes()[:-100])


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def steps_of(folder):
    return [int(path.stem.split("-")[1]) for path in checkpoints(folder)]


@pytest.mark.parametrize("there", [1, 2])
def test_a_run_without_a_whole_checkpoint_is_refused_and_stays_as_it_is(there, begun):
    for path in checkpoints(begun)[:-there]:
        path.unlink()
    damage(*checkpoints(begun))
    before = files_of(begun)
    with pytest.raises(ValueError, match=r"step-000000030\.pt is damaged.*; remove .*, or add --overwrite") as refused:
        reopened(begun)
    assert ("step-000000020.pt is damaged" in str(refused.value)) == (there == 2)
    assert files_of(begun) == before


def raising(error):
    def fail(*_, **__):
        raise error

    return fail


def exhausting(*_, **__):
    return torch.empty(2**60, dtype=torch.uint8)  # a RuntimeError, with torch's own words


class Failing(io.BytesIO):
    """A file on a disk that fails when it is read."""

    def read(self, *_):
        raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize(
    ("where", "fail", "kind"),
    [
        ("io.open", lambda *_, **__: Failing(), OSError),  # zipfile alone takes it for a file that is no archive
        ("io.open", raising(PermissionError(errno.EACCES, "Permission denied")), PermissionError),
        ("torch.load", raising(MemoryError()), MemoryError),
        ("torch.load", exhausting, MemoryError),
    ],
    ids=["disk", "permission", "memory", "torch"],
)
def test_a_checkpoint_that_cannot_be_read_now_is_not_taken_for_a_damaged_one(where, fail, kind, begun, monkeypatch):
    monkeypatch.setattr(where, fail)
    with pytest.raises(kind):
        load_state(begun)


def test_what_was_just_saved_stays_and_damaged_checkpoints_of_later_steps_go(begun, caplog):
    damage(checkpoints(begun)[-1])
    assert load_state(begun)["epoch"] == 2
    assert "step-000000030.pt is damaged (BadZipFile); going on from the one before it" in caplog.text
    save_state(begun, 25, {"epoch": 2, "metrics_bytes": 0})
    assert steps_of(begun) == [20, 25]
    save_state(begun, 5, {"epoch": 0, "metrics_bytes": 0})
    assert steps_of(begun) == [5]


@pytest.mark.parametrize("other", [[1], {"fc.bias": torch.zeros(2)}, {"metrics_bytes": "all"}])
def test_a_file_of_something_else_is_passed_over(begun, other):
    torch.save(other, checkpoints(begun)[-1])
    assert load_state(begun)["epoch"] == 2


def test_metrics_are_on_the_disk_before_a_checkpoint_counts_them(tmp_path, monkeypatch):
    flushed, sync = [], os.fsync

    def note(descriptor):
        flushed.append(os.fstat(descriptor).st_size)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    lengths = [log_metrics(tmp_path, {"epoch": epoch}) for epoch in (1, 2)]
    assert flushed == lengths == [13, 26]


def test_metrics_that_lost_their_end_fall_back_to_the_checkpoint_before(begun, caplog):
    """What a power loss may leave: 39 bytes were logged at the last checkpoint, 26 at the one before."""
    os.truncate(begun / METRICS, 30)
    status, state = reopened(begun)
    assert (status, state["epoch"]) == ("continue", 2)
    assert "step-000000030.pt needs 39 bytes of metrics.jsonl, which has 30" in caplog.text
    assert [json.loads(line)["epoch"] for line in (begun / METRICS).read_text().splitlines()] == [1, 2]


def test_metrics_shorter_than_at_any_checkpoint_are_refused(begun):
    os.truncate(begun / METRICS, 20)
    before = files_of(begun)
    with pytest.raises(
        ValueError, match=r"20\.pt needs 26 bytes of metrics\.jsonl, which has 20; remove .*--overwrite"
    ):
        reopened(begun)
    assert files_of(begun) == before


@pytest.mark.parametrize(
    ("unseen", "said"),
    [
        ("loss", "the loss of epoch 1, step 4 is nan: training diverged"),
        ("weights", "the largest weight after 4 steps is inf: training diverged"),
    ],
)
def test_no_checkpoint_is_made_of_a_run_that_has_diverged(unseen, said, tmp_path, monkeypatch):
    """As on a GPU between two looks at the losses, and of several processes, where another's loss is not finite."""
    monkeypatch.setattr(Session, "look", lambda *_: None)
    update = Session.update

    def diverge(session, images, labels):
        update(session, images, labels)
        if session.steps == 3 and unseen == "loss":
            session.tally.sums[1] = torch.nan
        if session.steps == 3 and unseen == "weights":
            with torch.no_grad():
                next(session.model.parameters()).view(-1)[0] = torch.inf

    monkeypatch.setattr(Session, "update", diverge)
    recipe = replace(RECIPE, epochs=1, batch_size=64, held_out=500, threads=1)
    with pytest.raises(FloatingPointError, match=said):
        train(recipe, tmp_path, progress=False, checkpoint_minutes=0)
    assert steps_of(tmp_path) == [2, 3]
