"""Result files, the tables made of them, and their times: only what belongs together is put side by side."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import tables_of_runs

from drnn.provenance import environment
from drnn.reproduce import Job, result_of
from drnn.reproduce.plan import ROWS
from drnn.reproduce.report import ablation_markdown, read_results, table1_markdown
from drnn.reproduce.times import STATIC, time_rows
from drnn.storage import write_json
from drnn.training import find_recipe, train
from drnn.training.recipe import recipe_from_dict

CIFAR10 = Path(__file__).parents[2] / "results" / "cifar10"
SHORT, SMALL = CIFAR10 / "short", CIFAR10 / "ablation-dr_resnet16" / "short-10-epochs-10000-images"
FOLDERS = [path.parent for path in sorted(CIFAR10.rglob("*-0.json"))]
TINY = {"epochs": 1, "batch_size": 128, "train_images": 300, "threads": 1, "device": "cpu", "ema_decay": 0.5}
BASES = {"dr_resnet16": "digits", "resnet20": "digits-static", "aig_resnet110": "digits"}


def trained(root: Path, row: str, seed: int = 0, **changes) -> Job:
    """A finished run of the digits that stands for a row of Table 1."""
    changes = {**TINY, "seed": seed, **changes}
    recipe, name = recipe_from_dict(changes, find_recipe(BASES[row])), f"{row}-{seed}"
    job = Job(row, "short", recipe, BASES[row], changes, root / "runs/short" / name, root / f"short/{name}.json")
    train(recipe, job.folder, progress=False)
    write_json(job.file, result_of(job))
    return job


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Runs and results: two seeds of a recursive network, two of its static counterpart, one of another row."""
    root = tmp_path_factory.mktemp("made")
    named = [("dr_resnet16", 0), ("dr_resnet16", 1), ("resnet20", 0), ("resnet20", 1), ("aig_resnet110", 0)]
    return root, {(row, seed): trained(root, row, seed) for row, seed in named}


@pytest.fixture
def here(made, tmp_path):
    """A copy to spoil: what it holds, and its jobs by row and seed."""
    root, jobs = made
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    moved = {
        key: replace(job, folder=tmp_path / job.folder.relative_to(root), file=tmp_path / job.file.relative_to(root))
        for key, job in jobs.items()
    }
    return tmp_path / "short", moved


def change(file: Path, **values) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def cells(table: str, row: str) -> list[str]:
    (line,) = re.findall(rf"^\| {re.escape(row)} \|.*\|$", table, re.MULTILINE)
    return [cell.strip() for cell in line.strip("|").split("|")]


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


@pytest.mark.parametrize("kept", [b"", b'{"epoch": 1, "test_err'])
def test_a_run_whose_metrics_were_lost_or_cut_makes_no_result(kept, here):
    job = here[1]["resnet20", 0]
    (job.folder / "metrics.jsonl").write_bytes(kept)
    with pytest.raises(ValueError, match=r"metrics\.jsonl has no epochs; its recipe has 1, .* run it again"):
        result_of(job)


def test_every_row_is_timed_against_a_static_one():
    assert {STATIC[row] for row in ROWS} == {"resnet20", "resnet56", "resnet110"}
    assert [row for row in ROWS if STATIC[row] == row] == ["resnet20", "resnet110", "resnet56"]


def test_a_row_timed_alone_still_meets_its_static_counterpart(here):
    folder, jobs = here
    (written,) = time_rows([jobs["dr_resnet16", 1]], 64, 3).values()
    timed = written["dr_resnet16"]
    assert (timed["against"], timed["seed"], timed["against_seed"]) == ("resnet20", 1, 1)
    assert timed["ratio"] != 1
    assert (timed["device"], timed["rounds"], timed["batch_size"]) == ("cpu", 3, 64)
    assert timed["environment"]["commit"] == environment()["commit"]
    for key, row in (("weights_sha256", "dr_resnet16"), ("against_weights_sha256", "resnet20")):
        assert timed[key] == json.loads(jobs[row, 1].file.read_text())["weights_sha256"]
    table = table1_markdown(folder)
    assert cells(table, "dr_resnet16")[-2:] == [
        f"{timed['ms']:.3f} / {timed['against_ms']:.3f}", f"{timed['ratio']:.2f}"
    ]  # fmt: skip
    where = timed["environment"]
    assert table.endswith(
        f"\nTimes of dr_resnet16: seed 1, 3 pairs of batches of 64, device cpu, {where['processor']}, "
        f"threads {where['threads']}, commit {where['commit']}, {where['date'][:10]}.\n"
    )


def test_without_its_static_counterpart_a_row_has_no_ratio(here):
    folder, jobs = here
    lines: list[str] = []
    (written,) = time_rows([jobs["aig_resnet110", 0]], 64, 2, report=lines.append).values()
    assert lines == ["aig_resnet110: timed alone; no run of resnet110 is here"]
    timed = written["aig_resnet110"]
    assert (timed["against"], timed["against_ms"], timed["ratio"]) == (None, None, None)
    assert cells(table1_markdown(folder), "aig_resnet110")[-2:] == [f"{timed['ms']:.3f} / -", "-"]
    (folder / "resnet110-0.json").write_text(
        jobs["resnet20", 0].file.read_text().replace('"row": "resnet20"', '"row": "resnet110"')
    )
    shutil.copytree(jobs["resnet20", 0].folder, jobs["resnet20", 0].folder.with_name("resnet110-0"))
    (written,) = time_rows([jobs["aig_resnet110", 0]], 64, 2, report=lines.append).values()
    assert written["aig_resnet110"]["against"] == "resnet110"


def test_timing_adds_rows_and_passes_over_runs_that_are_not_here(here):
    folder, jobs = here
    shutil.copy(SHORT / "times.json", folder)  # of long ago: environment and batch size once for all rows
    old = json.loads((folder / "times.json").read_text())
    lines: list[str] = []
    shutil.rmtree(jobs["dr_resnet16", 0].folder)
    shutil.rmtree(jobs["dr_resnet16", 1].folder)
    (written,) = time_rows(list(jobs.values()), 64, 2, report=lines.append).values()
    assert list(written) == ["resnet20", "aig_resnet110"]
    assert [line for line in lines if line.startswith("dr_")] == [
        *(f"dr_resnet16: no run of seed {seed} in {jobs['dr_resnet16', seed].folder}" for seed in (0, 1)),
        "dr_resnet16: not timed",
    ]
    rows = json.loads((folder / "times.json").read_text())["rows"]
    assert rows["dr_resnet16"] == {
        **old["rows"]["dr_resnet16"], "environment": old["environment"], "batch_size": 256
    }  # fmt: skip
    assert rows["resnet20"]["against"] == "resnet20"


def test_times_of_other_weights_are_not_shown(here):
    folder, jobs = here
    time_rows([jobs["dr_resnet16", 0], jobs["resnet20", 0]], 64, 2)
    assert cells(table1_markdown(folder), "dr_resnet16")[-1] != "-"
    change(jobs["resnet20", 0].file, weights_sha256="of another run")  # one side of the pair is enough
    table = table1_markdown(folder)
    assert cells(table, "resnet20")[-2:] == cells(table, "dr_resnet16")[-2:] == ["-", "-"]
    assert "Times of" not in table


@pytest.mark.parametrize(
    ("written", "shown"), [("2026-11-25T02:00:00+00:00", True), ("2026-11-25T03:00:00+00:00", False)]
)
def test_times_without_a_fingerprint_are_of_results_that_are_older(written, shown, tmp_path):
    shutil.copytree(SHORT, tmp_path / "short")
    for seed in (0, 1):
        file = tmp_path / f"short/dr_resnet16-{seed}.json"
        change(file, environment={**json.loads(file.read_text())["environment"], "date": written})
    table = table1_markdown(tmp_path / "short")
    assert (cells(table, "dr_resnet16")[-2:] == ["1.082 / 1.262", "0.88"]) == shown
    assert ("Times of dr_resnet16, resnet20: seed -, 20 pairs of batches of 256, device -, AMD EPYC" in table) == shown
    assert cells(table, "resnet20")[-2:] == ["1.518 / 1.499", "1.00"]


@pytest.mark.parametrize("fingerprint", [True, False])
def test_a_run_that_is_not_the_one_of_its_result_is_not_timed(fingerprint, here):
    jobs = here[1]
    result = json.loads(jobs["resnet20", 0].file.read_text())
    if fingerprint:
        result["weights_sha256"] = "of another run"
    else:
        del result["weights_sha256"]
        jobs["resnet20", 0].file.write_text(json.dumps(result))
        assert time_rows([jobs["resnet20", 0]], 64, 2)  # the run began when the result says
        result["trained_on"][0]["date"] = "2020-01-01T00:00:00+00:00"
    jobs["resnet20", 0].file.write_text(json.dumps(result))
    lines: list[str] = []
    assert time_rows([jobs["resnet20", 0]], 64, 2, report=lines.append) == {}
    assert "resnet20-0 holds another run than the one its result is of" in lines[0]


@pytest.mark.parametrize("text", ["{", "[]", '{"rows": {"resnet20": {"ms": 1}}}'])
def test_damaged_times_are_named(text, tmp_path):
    shutil.copytree(SHORT, tmp_path / "short")
    (tmp_path / "short/times.json").write_text(text)
    with pytest.raises(ValueError, match=r"times\.json holds no times of drnn reproduce .*; remove it and time again"):
        table1_markdown(tmp_path / "short")
