"""Blocks that nobody enters any more are named while a run can still be changed."""

import logging
from dataclasses import replace

import pytest

from drnn import create_model
from drnn.training import find_recipe, train
from drnn.training.closed import closed_blocks
from drnn.training.session import Session

TINY = replace(find_recipe("digits"), epochs=2, batch_size=128, held_out=1000, threads=1, warmup_epochs=0.5)


@pytest.mark.parametrize(
    ("rates", "closed"),
    [
        ([0.7, 0.7, 0.9, 0.7], []),
        ([0.7, 0.0, 0.9, None], []),  # the second loops: fewer loops, but the block runs
        ([0.0, None, 0.9, 0.7], ["layer2.1"]),
        ([0.0, None, 0.0, None], ["layer2.1", "layer3.1"]),
        ([None, None, None, None], []),  # no image has come yet
    ],
)
def test_a_block_is_closed_whose_first_loop_no_image_executes(rates, closed):
    assert closed_blocks(create_model("dr_resnet16_cifar"), rates) == closed


def test_gates_that_are_always_open_take_no_part_and_adaptive_blocks_do():
    assert closed_blocks(create_model("resnet20_cifar"), []) == []
    network = create_model("aig_resnet110_cifar")
    assert closed_blocks(network, [0.5] * 53 + [0.0]) == ["layer3.17"]


def closed_lines(caplog):
    return [record.getMessage() for record in caplog.records if "is closed" in record.getMessage()]


def test_training_names_closed_blocks_once(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("drnn.core.gates.START_PROBABILITY", 1e-6)
    with caplog.at_level(logging.WARNING):
        train(TINY, tmp_path / "run", progress=False)
    (line,) = closed_lines(caplog)
    assert line.startswith("epoch 1: no image entered ")
    assert "clip_norm" in line
    assert "docs/training.md" in line


def test_a_run_that_goes_on_does_not_name_them_again(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("drnn.core.gates.START_PROBABILITY", 1e-6)

    def break_off(session, *given, whole=Session.run_epoch):
        if session.epoch == 1:
            raise OSError("no power")
        return whole(session, *given)

    with caplog.at_level(logging.WARNING):
        with monkeypatch.context() as patch:
            patch.setattr(Session, "run_epoch", break_off)
            with pytest.raises(OSError, match="no power"):
                train(TINY, tmp_path / "run", progress=False)
        assert len(closed_lines(caplog)) == 1
        train(TINY, tmp_path / "run", progress=False)
    assert len(closed_lines(caplog)) == 1


def test_a_checkpoint_that_does_not_say_which_blocks_are_closed_is_gone_on_from(tmp_path, monkeypatch):
    whole = Session.state
    monkeypatch.setattr(Session, "state", lambda session: {k: v for k, v in whole(session).items() if k != "closed"})
    once = replace(TINY, epochs=2)

    def break_off(session, *given, run=Session.run_epoch):
        if session.epoch == 1:
            raise OSError("no power")
        return run(session, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "run_epoch", break_off)
        with pytest.raises(OSError, match="no power"):
            train(once, tmp_path / "run", progress=False)
    assert train(once, tmp_path / "run", progress=False)["images"] > 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "--clip_norm 1"),
        ({"clip_norm": 5.0}, "--clip_norm 1"),
        ({"clip_norm": 0.5}, "A lower --lr"),
        ({"target_rate": 0.0}, None),
    ],
)
def test_the_advice_is_not_what_is_set_already_and_gates_that_shall_close_may(
    changes, words, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr("drnn.core.gates.START_PROBABILITY", 1e-6)
    with caplog.at_level(logging.WARNING):
        train(replace(TINY, epochs=1, **changes), tmp_path / "run", progress=False)
    said = closed_lines(caplog)
    assert len(said) == (words is not None)
    assert all(words in line for line in said)


def test_a_run_whose_gates_answer_says_nothing(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        train(replace(TINY, epochs=1), tmp_path / "run", progress=False)
    assert not closed_lines(caplog)
