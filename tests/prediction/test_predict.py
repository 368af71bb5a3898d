"""drnn predict: files of every odd kind get an answer or a name, and what each cost."""

import csv
import errno
import io
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from drnn.cli.main import main
from drnn.cli.predict import WRITERS
from drnn.data import Normalize
from drnn.prediction.predict import Prediction
from drnn.training import find_recipe, train
from drnn.training.checkpoint import load_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "digits"
    train(replace(find_recipe("digits"), epochs=1, threads=1), folder, progress=False)
    return folder


def test_good_files_are_classified_bad_ones_named_and_the_exit_code_says_so(run, odd, damage, capsys):
    assert main(["predict", str(run), str(odd), "--format", "json", "--batch_size", "3"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 10
    bad = damage(odd)
    assert main(["predict", str(run), str(odd), "--format", "json", "--batch_size", "3"]) == 1
    shown = capsys.readouterr()
    mixed = json.loads(shown.out)
    assert sorted(row["file"].split("/")[-1] for row in mixed if row["problem"]) == sorted(bad)
    assert all(f"{name} skipped: " in shown.err for name in bad)
    good = [row for row in mixed if not row["problem"]]
    assert [row["label"] for row in good] == [row["label"] for row in rows]
    assert [row["macs"] for row in good] == [row["macs"] for row in rows]


def test_csv_and_text_say_the_same(run, odd, capsys):
    main(["predict", str(run), str(odd), "--format", "csv"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    main(["predict", str(run), str(odd)])
    lines = capsys.readouterr().out.splitlines()
    assert len(rows) == len(lines) == 10
    for row, line in zip(rows, lines, strict=True):
        assert f"{row['file']}: {row['label']}, " in line
        assert f"{int(row['macs']):,} MACs" in line


def test_test_images_saved_as_files_get_the_runs_own_answers(run, tmp_path, capsys):
    model, _, data = load_run(run)
    for i in range(20):
        Image.fromarray(data.test_images[i, 0].numpy()).save(tmp_path / f"{i:02}.png")
    main(["predict", str(run), str(tmp_path), "--format", "json"])
    rows = json.loads(capsys.readouterr().out)
    with torch.inference_mode():
        logits, record = model.forward_with_gates(Normalize(data.mean, data.std)(data.test_images[:20]))
    assert [row["label"] for row in rows] == [data.classes[i] for i in logits.argmax(1)]
    assert [row["loops"] for row in rows] == record.executed.sum(1).tolist()


def files_in(shown, kind):
    """The files that were answered for."""
    if kind == "text":
        return [line.split(": ")[0] for line in shown.splitlines()]
    rows = json.loads(shown) if kind == "json" else csv.DictReader(io.StringIO(shown))
    return [row["file"] for row in rows if row["label"]]


KINDS = pytest.mark.parametrize("kind", ["text", "csv", "json"])


@KINDS
@pytest.mark.parametrize("batch_size", ["1", "32"])
def test_a_folder_without_images_is_named_and_the_rest_classified(run, odd, batch_size, kind, capsys):
    (odd / "empty").mkdir()
    names = [str(odd / name) for name in ("a_rgb.png", "empty", "missing.png", "b_grey.png")]
    assert main(["predict", str(run), *names, "--format", kind, "--batch_size", batch_size]) == 1
    shown = capsys.readouterr()
    assert files_in(shown.out, kind) == [names[0], names[3]]
    assert f"{names[1]} skipped: a folder that holds no images; known are .png" in shown.err
    assert f"{names[2]} skipped: " in shown.err


@KINDS
def test_a_name_that_is_no_text_is_shown_escaped(run, odd, kind, capsys):
    name = os.path.join(os.fsencode(odd), b"ab\xffc.png")
    shutil.copy(odd / "a_rgb.png", name)
    assert main(["predict", str(run), os.fsdecode(name), str(odd / "b_grey.png"), "--format", kind]) == 0
    assert files_in(capsys.readouterr().out, kind) == [str(odd / "ab\\xffc.png"), str(odd / "b_grey.png")]


@KINDS
def test_a_name_that_standard_output_cannot_show_is_escaped(run, odd, kind, monkeypatch):
    shutil.copy(odd / "a_rgb.png", odd / "\u00e4.png")
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["predict", str(run), str(odd / "\u00e4.png"), "--format", kind]) == 0
    out.seek(0)
    assert files_in(out.read(), kind) == [str(odd / "\\xe4.png")]


def test_a_name_of_two_lines_is_shown_on_one(run, odd, capsys):
    shutil.copy(odd / "a_rgb.png", odd / "a\nb\x1b[2J.png")
    assert main(["predict", str(run), str(odd / "a\nb\x1b[2J.png")]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(str(odd / "a\\nb\\x1b[2J.png: "))


def test_json_is_a_whole_array_whatever_ends_it(capsys):
    def answers(count):
        yield from [Prediction(f"{i}.png", "cat", 0.5, 1, 10) for i in range(count)]
        raise RuntimeError("out of memory")

    for count in (0, 1, 2):
        with pytest.raises(RuntimeError, match="out of memory"):
            WRITERS["json"](answers(count))
        assert [row["file"] for row in json.loads(capsys.readouterr().out)] == [f"{i}.png" for i in range(count)]


def test_fresh_weights_do_not_answer(odd, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, message in (
        (
            "dr_resnet16_cifar",
            "dr_resnet16_cifar is no folder here but the name of a network, whose fresh weights would",
        ),
        ("dr_resnet16", "there is no folder dr_resnet16; give a finished run or a folder of weights"),
        ("runs/digits", "there is no folder runs/digits; give a finished run or a folder of weights"),
    ):
        assert main(["predict", name, str(odd / "a_rgb.png")]) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert message in shown.err


def test_what_cannot_be_opened_below_a_folder_is_named(run, tmp_path, monkeypatch, capsys):
    """A link to nowhere and a folder that may not be read are answered for, and the rest is classified."""
    (tmp_path / "closed").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "good.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "pipe.png")  # opened, it would wait for ever
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert main(["predict", str(run), str(tmp_path)]) == 1
    shown = capsys.readouterr()
    assert shown.out.count("good.png: ") == 1
    assert "link.png skipped: No such file or directory" in shown.err
    assert "closed skipped: a folder that cannot be read: Permission denied" in shown.err
    assert shown.err.count("skipped") == 2


def test_gates_that_draw_lots_answer_the_same_each_time(tmp_path, odd, capsys):
    recipe = replace(find_recipe("digits"), epochs=1, threads=1, gate_noise="always")
    train(recipe, tmp_path / "run", progress=False)
    said = []
    for _ in range(3):
        assert main(["predict", str(tmp_path / "run"), str(odd), "--format", "csv"]) == 0
        said.append(capsys.readouterr().out)
        torch.rand(7)
    assert said[0] == said[1] == said[2]
