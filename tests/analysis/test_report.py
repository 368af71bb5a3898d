"""From a run to its report, looked at in a real browser where one is installed."""

import csv
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from drnn.analysis import Findings, Options, analyse_run
from drnn.analysis.figures import Missing, draw, style
from drnn.analysis.findings import finite
from drnn.analysis.report import report, run_facts, write_report
from drnn.cli.main import main
from drnn.data import load_dataset
from drnn.training import find_recipe, train
from drnn.training.network import build_model, save_weights
from drnn.training.recipe_fields import recipe_text

LIMIT_BYTES = 5_000_000
EXAMPLE = Path(__file__).parents[2] / "examples" / "what_it_learnt.py"
CHROMIUM = shutil.which("chromium")


def scatter(run, seed):
    """Gates after one epoch still let every image pass; give them opinions."""
    weights, generator = load_file(run / "model.safetensors"), torch.Generator().manual_seed(seed)
    for name, values in weights.items():
        if ".scorer." in name:
            weights[name] = torch.randn(values.shape, generator=generator) * (2 if name.endswith("weight") else 0)
    save_file(weights, run / "model.safetensors")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two finished runs of one recipe, other seeds."""
    folder = tmp_path_factory.mktemp("runs")
    recipe = replace(find_recipe("digits"), epochs=1, held_out=1000, batch_size=99, threads=1, warmup_epochs=0)
    for seed in (0, 1):
        train(replace(recipe, seed=seed), folder / f"seed{seed}", progress=False)
        scatter(folder / f"seed{seed}", seed)
    return folder / "seed0", folder / "seed1"


def log_of_two_classes(folder):
    """A folder as a run on other data leaves it, worse in evaluation than guessing one of two, not than one of ten."""
    folder.mkdir()
    recipe = replace(find_recipe("digits"), dataset="imagefolder", data_root="nowhere")
    save_file({"fc.bias": torch.zeros(2)}, folder / "model.safetensors")
    (folder / "recipe.yaml").write_text(recipe_text(recipe.to_dict()))
    row = {"epoch": 1, "train_loss": 0.5, "test_loss": 2.0, "train_error": 0.1, "test_error": 0.6}
    (folder / "metrics.jsonl").write_text(json.dumps(row))
    return folder


@pytest.fixture(scope="module")
def made(runs, tmp_path_factory):
    """The first run's findings, written and read back, and the report that was made from them."""
    folder = tmp_path_factory.mktemp("analysis")
    options = Options(images=120, logs=(log_of_two_classes(folder / "seed1"),), course_epochs=1)
    analyse_run(runs[0], [runs[1]], options).save(folder)
    findings = Findings.load(folder)
    pictures = draw(findings)
    write_report(folder, "What a test run learnt", run_facts(findings.facts), pictures)
    return folder, findings, pictures


def test_arrays_on_disk_are_plain_and_whole(made):
    folder, findings, _ = made
    assert findings.tables["answers"]["executed"].shape == (120, 6)
    assert findings.tables["histogram"]["images"].sum() == 120
    assert findings.facts["images"] == 120
    with open(folder / "arrays" / "by_class.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["mean"]) for row in rows] == findings.tables["by_class"]["mean"].tolist()
    assert not (folder / "arrays" / "execution_map.csv").exists()  # two dimensions: npz alone
    assert {pair["first"] + pair["second"] for pair in findings.facts["agreement"]} == {"seed0seed1"}
    assert set(findings.facts["curves"]) == {"seed0", "seed1", "seed1 (3)", "naive", "lvbn", "unrolled"}
    assert findings.facts["curves"]["seed1 (3)"]["apart"] == [1]


def test_every_picture_is_drawn_signed_and_written_twice(made):
    folder, findings, pictures = made
    assert [picture.name for picture in pictures if isinstance(picture, Missing)] == []
    commit = findings.facts["analysed"]["commit"]
    for picture in pictures:
        assert (folder / "figures" / f"{picture.name}.png").read_bytes()[:4] == b"\x89PNG"
        assert (folder / "figures" / f"{picture.name}.svg").read_text().startswith("<?xml")
        signature = picture.figure.get_supxlabel()
        assert "digits" in signature
        assert "images" in signature
        assert commit is None or commit in signature


def test_the_report_stands_alone_and_is_small(made):
    folder, findings, pictures = made
    text = (folder / "report.html").read_text()
    assert len(text) < LIMIT_BYTES
    assert set(re.findall(r'(?:src|href)="([^"#]{5})', text)) == {"data:"}
    assert "<script" not in text
    for picture in pictures:
        assert f'id="{picture.name}"' in text
    assert findings.facts["weights"] in text


def test_held_out_images_are_called_so(made):
    folder, findings, _ = made
    assert dict(run_facts(findings.facts))["data"] == "digits, 120 held-out training images"
    text = (folder / "report.html").read_text()
    assert "120 held-out training images" in text
    assert "120 test images" not in text
    old = {key: value for key, value in findings.facts.items() if key != "tested_on"}
    assert dict(run_facts(old))["data"] == "digits, 120 test images"


def test_what_is_missing_is_named_with_its_reason():
    text = report("A <b> title", [("a", "b & c")], [Missing("figure7", "Figure 7", "no <norms>")])
    assert "A &lt;b&gt; title" in text
    assert "Not drawn: no &lt;norms&gt;." in text


def grey(colour):
    """Relative luminance of an sRGB colour."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_lines_differ_in_grey_and_by_more_than_colour():
    for first, second in combinations(style.COLOURS, 2):
        ratio = (grey(first) + 0.05) / (grey(second) + 0.05)
        assert max(ratio, 1 / ratio) > 2
    looks = [(style.LINES[i % 6], style.MARKERS[i % 6]) for i in range(6)]
    assert len(set(looks)) == 6


def test_json_has_no_numbers_that_are_not_finite():
    value = finite({"a": np.array([1.0, np.inf]), "b": (np.float32(2), float("nan")), "c": "x"})
    assert json.loads(json.dumps(value, allow_nan=False)) == {"a": [1.0, None], "b": [2.0, None], "c": "x"}


def test_findings_that_are_not_there_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="drnn analyze RUN"):
        Findings.load(tmp_path)


@pytest.fixture(scope="module")
def page(made):
    """The report in a browser at a phone's width, and what its console said."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine; apt-get install chromium, or any package that puts it on the path")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright, which drives the browser, is missing")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 390, "height": 844})
        said: list[str] = []
        opened.on("console", lambda message: said.append(message.text))
        opened.on("pageerror", lambda error: said.append(str(error)))
        requests: list[str] = []
        opened.on("request", lambda request: requests.append(request.url))
        opened.goto((made[0] / "report.html").as_uri())
        opened.wait_for_load_state("load")
        yield opened, said, requests
        browser.close()


def test_the_report_opens_without_errors_and_asks_for_nothing(page, made):
    opened, said, requests = page
    assert said == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    sizes = opened.evaluate("[...document.images].map(i => [i.complete, i.naturalWidth, i.alt.length])")
    assert len(sizes) == len(made[2])
    assert all(complete and width > 600 and alt > 20 for complete, width, alt in sizes)


def test_the_report_is_readable_on_a_phone(page):
    opened, _, _ = page
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
    widths = opened.evaluate("[...document.images].map(i => i.getBoundingClientRect().width)")
    assert min(widths) > 340
    fonts = opened.evaluate(
        "[...document.querySelectorAll('p, td')].map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(fonts) >= 14


def test_the_command_writes_a_report_and_prints_its_link(runs, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["analyze", str(runs[0]), "--images", "60", "--device", "cpu", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert (out / "report.html").resolve().as_uri() in printed
    assert set(Findings.load(out).facts["left_out"]) == {"agreement"}


def test_one_image_is_told_without_intervals_and_correlations(runs, tmp_path):
    other, out = shutil.copytree(runs[1], tmp_path / "seed0"), tmp_path / "out"
    assert main(["analyze", str(runs[0]), str(other), "--images", "1", "--device", "cpu", "--out", str(out)]) == 0
    text = (out / "report.html").read_text()
    assert "agreement of loops, seed0 and seed0 (2)</th><td>one of them gives every image the same loops<" in text
    assert "one image has no interval" in text
    assert not re.search(r"\bnan\b", re.sub('base64,[^"]+', "", text))
    assert draw(Findings.load(out))[0].says in text


def test_arrays_need_no_drawing(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    arguments = ["analyze", str(runs[0]), "--images", "30", "--device", "cpu", "--out", str(tmp_path)]
    assert main([*arguments, "--figures", "false"]) == 0
    assert (tmp_path / "facts.json").exists()
    assert main(arguments) == 2
    assert "a picture needs matplotlib: pip install 'drnn[plot]'" in capsys.readouterr().err


def test_the_example_prints_what_the_report_shows(runs):
    done = subprocess.run([sys.executable, str(EXAMPLE), str(runs[0])], capture_output=True, text=True, check=True)
    assert "seed0: " in done.stdout
    assert len(re.findall(r"^class ", done.stdout, re.MULTILINE)) == 10


def test_the_example_knows_networks_whose_gates_were_left_open(tmp_path):
    recipe = replace(find_recipe("digits"), gate="open")
    (tmp_path / "recipe.yaml").write_text(recipe_text(recipe.to_dict()))
    save_weights(tmp_path / "model.safetensors", build_model(recipe, load_dataset("digits")))
    done = subprocess.run([sys.executable, str(EXAMPLE), str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{tmp_path.name}: 6.00 loops an image\n")


def test_gradients_of_an_untrained_network_need_no_data(tmp_path, capsys):
    arguments = ["gradients", "dr_resnet16_cifar", "--batch_size", "8", "--out", str(tmp_path)]
    assert main(["analyze", *arguments, "--overrides", '{"width": 8}']) == 0
    assert "Report: file:" in capsys.readouterr().out
    text = (tmp_path / "report.html").read_text()
    assert text.count("measured at initialisation alone") == 3  # Figure 6, against step, errors by statistics
    assert "fields changed: width 8" in text
    assert main(["analyze", "gradients", "resnet20_cifar"]) == 2
    assert "no block that loops" in capsys.readouterr().err
