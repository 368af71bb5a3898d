"""Result files and the tables made of them: only what belongs together is put side by side."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import tables_of_runs

from drnn.reproduce import result_of
from drnn.reproduce.report import ablation_markdown, read_results, table1_markdown

sys.path.insert(0, str(Path(__file__).parent))
from experiment import cells, change

CIFAR10 = Path(__file__).parents[2] / "results" / "cifar10"
SHORT, SMALL = CIFAR10 / "short", CIFAR10 / "ablation-dr_resnet16" / "short-10-epochs-10000-images"
FOLDERS = [path.parent for path in sorted(CIFAR10.rglob("*-0.json"))]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_shipped_result_belongs_where_it_lies(folder):
    files = [file for file in folder.glob("*.json") if file.name != "times.json"]
    assert len(read_results(folder)) == len(files) > 0


def copied(folder: Path) -> None:
    shutil.copy(folder / "dr_resnet16-0.json", folder / "dr_resnet16-7.json")


def moved(folder: Path) -> None:
    shutil.copy(CIFAR10 / "short-12-epochs-0-cutout/resnet20-0.json", folder)


def with_recipe(folder: Path, name: str, **fields) -> None:
    result = json.loads((folder / name).read_text())
    change(folder / name, recipe={**result["recipe"], **fields})


def cut(folder: Path) -> None:
    change(folder / "resnet20-0.json", epochs=json.loads((folder / "resnet20-0.json").read_text())["epochs"][:-1])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (copied, r"dr_resnet16-7\.json: its name is 'dr_resnet16-7\.json', .* should be 'dr_resnet16-0\.json'; remove"),
        (moved, r"resnet20-0\.json: its label is 'short-12-epochs-0-cutout', .* should be 'short'"),
        (lambda folder: change(folder / "resnet20-0.json", seed=1), r"its name is 'resnet20-0\.json', .*20-1\.json"),
        (lambda folder: with_recipe(folder, "resnet20-0.json", seed=3), r"its seed of the recipe is 3, .* should be 0"),
        (
            lambda folder: with_recipe(folder, "dr_resnet16-1.json", rate_weight=2.0),
            r"dr_resnet16-1\.json: rate_weight is 2\.0, in .*dr_resnet16-0\.json it is 1\.0; .*: remove one of the two",
        ),
        (
            lambda folder: [with_recipe(folder, f"resnet20-{seed}.json", lr=0.2) for seed in (0, 1)],
            r"resnet20-0\.json: lr is 0\.2, in .*dr_resnet16-0\.json it is 0\.1",
        ),
        (lambda folder: change(folder / "dr_resnet16-1.json", params=7), r"params is 7, in .* it is 181950"),
        (cut, r"resnet20-0\.json has 19 epochs, 1 to 19; its recipe has 20"),
    ],
)
def test_what_does_not_belong_in_the_table_is_refused(spoil, says, tmp_path):
    shutil.copytree(SHORT, tmp_path / "short")
    spoil(tmp_path / "short")
    with pytest.raises(ValueError, match=says):
        table1_markdown(tmp_path / "short")


def test_another_variant_under_a_variants_name_is_refused(tmp_path):
    folder = tmp_path / SMALL.name
    shutil.copytree(SMALL, folder)
    (folder / "lg-0.json").rename(folder / "lg-1.json")
    with pytest.raises(ValueError, match=r"should be 'lg-0\.json'"):
        ablation_markdown(folder)


def test_threads_may_differ_and_a_field_may_be_younger_than_a_file(tmp_path):
    shutil.copytree(SHORT, tmp_path / "short")
    with_recipe(tmp_path / "short", "resnet20-1.json", threads=4, padding_mode="zeros")
    assert len(read_results(tmp_path / "short")) == 4


def test_the_tables_pool_the_seeds(tmp_path):
    shutil.copytree(SHORT, tmp_path / "short")
    for seed, std in enumerate((3e6, 5e6)):
        change(tmp_path / f"short/dr_resnet16-{seed}.json", macs_std=std, macs_mean=30e6 + seed * 1e6)
    assert cells(table1_markdown(tmp_path / "short"), "dr_resnet16")[8] == "30.5 +- 4.0"
    folder = tmp_path / SMALL.name
    shutil.copytree(SMALL, folder, ignore=shutil.ignore_patterns("lgi-[0-9].json"))
    for seed, rates in enumerate(([0.5, 0.2, None, None], [0.7, None, 0.4, None])):
        shutil.copy(SMALL / "lgi-0.json", folder / f"lgi-{seed}.json")
        with_recipe(folder, f"lgi-{seed}.json", seed=seed)
        change(folder / f"lgi-{seed}.json", seed=seed, executed_rates=rates)
    assert cells(ablation_markdown(folder), "L+G+I")[-1] == "0.60 0.20 0.40 -"


def test_minutes_name_the_seed_where_a_row_has_several():
    (line,) = [line for line in tables_of_runs.table1().splitlines() if "cifar10/short/*" in line]
    assert "Minutes a run: dr_resnet16 (seed 0) 115; dr_resnet16 (seed 1) 131; resnet20 (seed 0)" in line
    assert "side by side" not in line
    assert tables_of_runs.ablation().startswith("**ablation-dr_resnet16/")  # which network


@pytest.mark.parametrize(
    ("kept", "says"),
    [
        (b"", r" has no epochs; its recipe has 1, .* run it again"),
        (b'{"epoch": 1, "test_err', r" has no epochs; its recipe has 1, .* run it again"),
        (b'oops\n{"epoch": 1}\n', r", line 1 is damaged: "),
    ],
)
def test_a_run_whose_metrics_were_lost_or_cut_or_damaged_makes_no_result(kept, says, here):
    job = here[1]["resnet20", 0]
    (job.folder / "metrics.jsonl").write_bytes(kept)
    with pytest.raises(ValueError, match=r"metrics\.jsonl" + says):
        result_of(job)


def begin(folder: Path, name: str, place: str, sha256: str) -> None:
    with_recipe(folder, name, initial_weights=place)
    change(folder / name, trained_on=[{"initial_weights_sha256": sha256}])


@pytest.mark.parametrize("row", ["dr_resnet16", "resnet20"])
def test_weights_that_runs_began_with_are_told_by_what_they_are_not_by_where_they_lay(row, tmp_path):
    folder = shutil.copytree(SHORT, tmp_path / "short")
    for name, place in (
        ("dr_resnet16-0", "runs/a"),
        ("dr_resnet16-1", "runs/a/"),
        ("resnet20-0", "a"),
        ("resnet20-1", "a"),
    ):
        begin(folder, f"{name}.json", place, "1" * 64)
    assert len(read_results(folder)) == 4
    begin(folder, f"{row}-1.json", "runs/a", "2" * 64)
    with pytest.raises(ValueError, match=rf"{row}-1\.json: initial_weights is '2+', in .*-0\.json it is '1+'"):
        read_results(folder)


@pytest.mark.parametrize("damage", [{"epochs": [1, 2]}, {"epochs": [{}]}, {"trained_on": ["here"]}], ids=str)
def test_a_damaged_result_is_named(damage, tmp_path):
    folder = shutil.copytree(SHORT, tmp_path / "short")
    change(folder / "resnet20-0.json", **damage)
    with pytest.raises(ValueError, match=r"resnet20-0\.json is no result of drnn reproduce"):
        read_results(folder)
