"""What was tried under the same conditions, side by side."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from drnn.cli.main import main
from drnn.reproduce.trials import labels_in, trials_in

sys.path.insert(0, str(Path(__file__).parent))
from experiment import cells, change

CIFAR10 = Path(__file__).parents[2] / "results" / "cifar10"
SHORT = CIFAR10 / "short"


def tried(root: Path, label: str, seeds=(0,), **fields) -> None:
    """Results of `dr_resnet16` by another recipe, at a place of their own."""
    folder = root / label
    folder.mkdir()
    for seed in seeds:
        file = folder / f"dr_resnet16-{seed}.json"
        shutil.copy(SHORT / file.name, file)
        change(file, label=label, recipe={**json.loads(file.read_text())["recipe"], **fields})


@pytest.fixture
def root(tmp_path):
    shutil.copytree(SHORT, tmp_path / "short")
    return tmp_path


def test_options_are_lines_of_one_table(root):
    tried(root, "short-1.0-clip", clip_norm=1.0)
    tried(root, "short-open-gate", gate="open", zero_init_loops=True)
    (there,) = trials_in(labels_in(root))
    assert there.command == "drnn reproduce table1 --recipe short"
    assert [folder.name for folder in there.folders] == ["short", "short-1.0-clip", "short-open-gate"]
    rows = [line.split(" | ")[:2] for line in there.markdown().splitlines()[2:]]
    assert rows == [
        ["| dr_resnet16", "-"],
        ["| dr_resnet16", "`--clip_norm 1`"],
        ["| dr_resnet16", "`--gate open --zero_init_loops true`"],
        ["| resnet20", "-"],
    ]


def test_where_a_run_begins_is_an_option(root):
    tried(root, "short-0.01-lr-a-weights", lr=0.01, initial_weights="runs/a")
    (there,) = trials_in([root / "short", root / "short-0.01-lr-a-weights"])
    assert "| dr_resnet16 | `--lr 0.01 --initial_weights runs/a` |" in there.markdown()


def test_the_seeds_of_an_option_are_one_line(root):
    tried(root, "short-1.0-clip", seeds=(0, 1), clip_norm=1.0)
    change(root / "short-1.0-clip/dr_resnet16-0.json", error=0.1, mean_loops=1.0)
    change(root / "short-1.0-clip/dr_resnet16-1.json", error=0.12, mean_loops=2.0)
    (there,) = trials_in([root / "short-1.0-clip"])
    line = cells(there.markdown(), "dr_resnet16")
    assert (line[2], line[5], line[8]) == ("11.00 +- 1.41", "2", "1.50 of 4")


def test_other_conditions_are_another_table(root):
    tried(root, "short-5000-held-out", held_out=5000)
    tried(root, "short-5000-held-out-1.0-clip", held_out=5000, clip_norm=1.0)
    tried(root, "short-bf16-precision", precision="bf16")
    there = trials_in(labels_in(root))
    assert [trials.command.removeprefix("drnn reproduce table1 --recipe short") for trials in there] == [
        "", " --held_out 5000", " --precision bf16",
    ]  # fmt: skip
    assert [len(trials.results) for trials in there] == [4, 2, 1]


def test_threads_and_machines_are_no_condition(root):
    tried(root, "short-1.0-clip", clip_norm=1.0, threads=7, device="cuda")
    assert len(trials_in(labels_in(root))) == 1


def test_the_command_shows_them_and_runs_nothing(root, capsys):
    tried(root, "short-open-gate", gate="open")
    before = sorted(root.rglob("*"))
    assert main(["reproduce", "trials", "--results", str(root)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("drnn reproduce table1 --recipe short\n\n| row | options | error %")
    assert "| dr_resnet16 | `--gate open` |" in shown
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize(
    ("argument", "named"), [("--rows=resnet20", "rows"), ("--time", "time"), ("--clip_norm=1", "clip_norm")]
)
def test_options_of_runs_are_refused(argument, named, root, capsys):
    assert main(["reproduce", "trials", "--results", str(root), argument]) == 2
    assert f"{named} received; trials shows what is there and runs nothing" in capsys.readouterr().err


def test_results_of_the_ablation_and_of_something_else_are_no_trials(root, capsys):
    assert main(["reproduce", "trials", "--results", str(CIFAR10 / "ablation-dr_resnet16")]) == 2
    assert "results of naive by the recipe cifar10-dr16-short, which are none of" in capsys.readouterr().err
    (root / "digits").mkdir()
    (root / "digits" / "compare.json").write_text("{}")
    assert main(["reproduce", "trials", "--results", str(root)]) == 0
    change(
        root / "short/resnet20-0.json",
        recipe={**json.loads((root / "short/resnet20-0.json").read_text())["recipe"], "name": "gone"},
    )
    change(
        root / "short/resnet20-1.json",
        recipe={**json.loads((root / "short/resnet20-1.json").read_text())["recipe"], "name": "gone"},
    )
    assert main(["reproduce", "trials", "--results", str(root)]) == 2
    assert "results of resnet20 by the recipe gone, which are none of" in capsys.readouterr().err


def test_a_folder_without_results_is_refused(tmp_path, capsys):
    assert main(["reproduce", "trials", "--results", str(tmp_path)]) == 2
    assert "has no results of drnn reproduce table1; name their folder" in capsys.readouterr().err


def test_one_beginning_is_one_line_however_its_place_was_spelt(root):
    tried(root, "short-a-weights", seeds=(0, 1), initial_weights="runs/a")
    folder = root / "short-a-weights"
    for seed, place in enumerate(("runs/a", "runs/a/")):
        held = json.loads((folder / f"dr_resnet16-{seed}.json").read_text())
        recipe = {**held["recipe"], "initial_weights": place}
        change(folder / f"dr_resnet16-{seed}.json", recipe=recipe, trained_on=[{"initial_weights_sha256": "1" * 64}])
    (there,) = trials_in(labels_in(root))
    rows = [line.split(" | ") for line in there.markdown().splitlines()[2:]]
    assert [(row[1], row[5]) for row in rows if "weights" in row[1]] == [("`--initial_weights runs/a`", "2")]
