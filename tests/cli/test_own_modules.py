"""``drnn --import MODULE VERB``: verbs know what a module of the user's adds to the registries."""

import os
import subprocess
import sys

import pytest

from drnn.cli.main import import_own, main

OWN = """
from dataclasses import replace
from drnn.data import DATASETS, Dataset, load_dataset
from drnn.models.parts import SCORERS, LinearScorer
from drnn.models.registry import MODELS

class Mine(LinearScorer):
    pass

def few(root, download):
    digits = load_dataset("digits")
    return replace(digits, name="few", test_images=digits.test_images[:50], test_labels=digits.test_labels[:50])

SCORERS["mine"], DATASETS["few"] = Mine, few
MODELS["thin"] = replace(MODELS["dr_resnet_digits"], width=8)
"""
TRAIN = [
    "train",
    "digits",
    "--epochs",
    "1",
    "--warmup_epochs",
    "0",
    "--train_images",
    "300",
    "--threads",
    "1",
    "--device",
    "cpu",
    "--quiet",
    "--model",
    "thin",
    "--gate",
    "mine",
    "--dataset",
    "few",
    "--out",
    "own",
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a module, and the command in a process of its own, whose registries nobody else sees."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "parts_of_mine.py").write_text(OWN)

    def run(*arguments):
        command = [
            sys.executable,
            "-P",
            "-m",
            "drnn",
            *arguments,
        ]  # -P: as the installed command, whose folder is not first
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})

    return run


def test_a_run_with_parts_of_ones_own_is_trained_and_evaluated(here):
    assert here(*TRAIN).returncode == 2
    trained = here("--import", "parts_of_mine", *TRAIN)
    assert trained.returncode == 0, trained.stderr
    without = here("eval", "own")
    assert without.returncode == 2
    assert "is no name of one" in without.stderr or "there is no" in without.stderr
    evaluated = here("--import", "parts_of_mine", "eval", "own")
    assert evaluated.returncode == 0, evaluated.stderr
    assert "50 " in evaluated.stdout


@pytest.mark.parametrize("name", ["nowhere", "nowhere.deep", "json.nowhere", "parts.py", "a/b.py", "", "."])
def test_what_is_no_module_is_named(name, capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    for arguments in (["--import", name], [f"--import={name}"]):
        assert main([*arguments, "models"]) == 2
        assert f"drnn models: --import {name!r} received; give the name of a module" in capsys.readouterr().err


def test_an_option_alone_shows_the_usage(capsys):
    assert main(["--import"]) == 0
    assert "drnn --import MODULE VERB ..." in capsys.readouterr().out


def test_a_verb_whose_processes_would_not_know_it_is_refused(capsys):
    assert main(["--import", "json", "reproduce", "table1"]) == 2
    assert "drnn reproduce: --import received; reproduce has rows of its own" in capsys.readouterr().err


def test_a_mistake_in_the_module_is_told_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "mistaken_parts.py").write_text("raise ValueError('no such thing')")
    assert main(["--import", "mistaken_parts", "models"]) == 2
    assert capsys.readouterr().err == "drnn models: no such thing\n"


def test_a_module_that_lacks_another_says_which(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "lacks_one.py").write_text("import nowhere_at_all")
    with pytest.raises(ModuleNotFoundError, match="nowhere_at_all"):
        import_own("lacks_one", "models")
