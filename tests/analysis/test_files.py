"""Runs on images that are read from files."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from drnn.analysis import subject
from drnn.analysis.findings import Findings
from drnn.analysis.runs import analyse_run
from drnn.analysis.subject import Options, load_subject
from drnn.cli.main import main
from drnn.training import find_recipe, train
from drnn.training.checkpoint import load_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """On two classes of 10 pictures to train on and 7 to be tested on, each of a grey of its own."""
    root = tmp_path_factory.mktemp("files")
    for number, (part, count) in enumerate({"train": 10, "val": 7}.items()):
        for label, name in enumerate(("ant", "bee")):
            folder = root / part / name
            folder.mkdir(parents=True)
            for place in range(count):
                grey = np.full((12, 12, 3), 100 * number + 50 * label + place, np.uint8)
                Image.fromarray(grey).save(folder / f"{place}.png")
    fields = {"dataset": "imagefolder", "data_root": str(root), "image_size": 8, "workers": 0, "batch_size": 4}
    recipe = replace(find_recipe("digits"), epochs=1, warmup_epochs=0, threads=1, device="cpu", padding=1, **fields)
    train(recipe, root / "run", progress=False)
    return root / "run"


def test_all_test_images_are_looked_at_and_a_batch_of_training_images(run):
    found, _ = load_subject(run, Options())
    data, streamed = found.dataset, load_run(run).dataset
    assert torch.equal(data.test_images, streamed.test_images)
    assert torch.equal(data.test_labels, streamed.test_labels)
    assert data.train_images[:, 0, 0, 0].tolist() == [0, 5, 50, 55]
    assert data.train_labels.tolist() == [0, 0, 1, 1]


def test_fewer_are_spread_evenly_over_the_classes(run):
    found, _ = load_subject(run, Options(images=4))
    assert found.dataset.test_labels.tolist() == [0, 0, 1, 1]
    assert found.dataset.test_images[:, 0, 0, 0].tolist() == [100, 103, 150, 153]
    assert load_subject(run, Options(images=99))[0].dataset.num_test == 14


def test_the_command_writes_its_findings(run, tmp_path, capsys):
    assert main(["analyze", str(run), "--images", "10", "--out", str(tmp_path / "a"), "--device", "cpu"]) == 0
    facts = Findings.load(tmp_path / "a").facts
    assert (facts["images"], facts["dataset"], facts["classes"]) == (10, "imagefolder", ["ant", "bee"])
    assert (tmp_path / "a" / "report.html").is_file()


def test_more_than_memory_should_hold_is_refused_before_it_is_read(run, monkeypatch):
    monkeypatch.setattr(subject, "LARGEST", 3 * 8 * 8 * 5 + 1)
    with pytest.raises(
        ValueError, match=r"is tested on 14 images of 8 x 8, .* keeps in memory; give --images, at most 5"
    ):
        analyse_run(run)
    assert load_subject(run, Options(images=5))[0].dataset.num_test == 5


def test_a_course_needs_images_in_memory(run):
    with pytest.raises(
        ValueError, match=r"course_epochs 1 received; .* was trained on imagefolder, and a course needs"
    ):
        analyse_run(run, options=Options(course_epochs=1))
