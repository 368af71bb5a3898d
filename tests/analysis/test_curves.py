"""Logs of training as curves: read tolerantly, and marked where a run came apart."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from drnn.analysis.curves import curves_from_rows, read_curves

sys.path.insert(0, str(Path(__file__).parent.parent / "core"))


def log(epoch, train_loss, test_loss):
    return {"epoch": epoch, "train_loss": train_loss, "train_error": 0.5, "test_loss": test_loss, "test_error": 0.5}


def test_curves_mark_where_a_run_came_apart():
    rows = [log(1, 2.5, 2.4), log(2, 1.0, 9.0), log(3, 1.0, 1.0), log(4, 3.0, 1.0), log(5, 1.0, None)]
    curves = curves_from_rows("run", rows, num_classes=10)
    assert curves.apart.tolist() == [2, 5]
    assert curves.diverged.tolist() == [4]
    stopped = curves_from_rows("run", rows[:3], num_classes=10, stopped=True)
    assert stopped.diverged.tolist() == [3]


def test_a_rate_loss_is_no_reason_to_mark_an_epoch():
    """Lambda may make the whole loss larger than guessing costs while the network learns."""
    rows = [{**log(epoch, loss, 1.0), "train_cross_entropy": 1.0} for epoch, loss in ((1, 1.5), (2, 4.0))]
    curves = curves_from_rows("run", rows, num_classes=10)
    assert curves.diverged.tolist() == curves.apart.tolist() == []
    assert curves.train_loss.tolist() == [1.0, 1.0]


def test_logs_are_read_tolerantly(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({**log(1, 1.0, 1.0), "new": [1]}) + "\n" + '{"epoch": 2, "train_er')
    curves = read_curves(tmp_path, 10)
    assert curves.epoch.tolist() == [1]
    path.write_text('{"epoch": 1}\n')
    assert np.isnan(read_curves(tmp_path, 10).test_error).all()
    path.write_text("oops\n" + json.dumps(log(1, 1.0, 1.0)))
    with pytest.raises(ValueError, match="line 1 is damaged"):
        read_curves(tmp_path, 10)
    path.write_text("")
    with pytest.raises(ValueError, match="no finished epoch"):
        read_curves(tmp_path, 10)
    with pytest.raises(FileNotFoundError, match="give the folder of a run"):
        read_curves(tmp_path / "none", 10)


def test_a_log_in_the_current_folder_has_its_name(tmp_path, monkeypatch):
    (tmp_path / "metrics.jsonl").write_text(json.dumps(log(1, 1.0, 1.0)))
    monkeypatch.chdir(tmp_path)
    assert read_curves(Path(), 10).name == tmp_path.name


def test_an_evaluation_far_off_is_marked_where_training_is_no_better_than_guessing():
    rows = [
        {"epoch": 1, "train_loss": 3.0, "test_loss": 2.6},
        {"epoch": 2, "train_loss": 2.9, "test_loss": 5e11},
        {"epoch": 3, "train_loss": 2.9, "test_loss": float("nan")},
        {"epoch": 4, "train_loss": 2.0, "test_loss": 2.4},
        {"epoch": 5, "train_loss": 2.0, "test_loss": 2.1},
    ]
    assert curves_from_rows("net", rows, 10).apart.tolist() == [2, 3, 4]
