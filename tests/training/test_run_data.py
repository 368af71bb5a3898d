"""A run remembers the classes and the number of images that it was trained on."""

import json
import shutil
from contextlib import ExitStack
from dataclasses import replace

import pytest
import torch
from PIL import Image

from drnn.cli.main import main
from drnn.reproduce.release import release
from drnn.training import Recipe, find_recipe, train
from drnn.training.checkpoint import load_run
from drnn.training.run_data import DATA, data_fields, require_classes
from drnn.training.run_folder import open_run
from drnn.training.session import Session
from drnn.training.trainer import load_data

NAMES = ("ant", "bee", "cat")


def image_folder(root, names, train=6, test=2):
    """Pictures of one grey a class."""
    for part, count in (("train", train), ("val", test)):
        for label, name in enumerate(names):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (8, 8), (80 * label,) * 3).save(root / part / name / f"{number}.png")
    return str(root)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return image_folder(tmp_path_factory.mktemp("data"), NAMES)


@pytest.fixture(scope="module")
def recipe(root):
    return Recipe(
        model="dr_resnet_digits", dataset="imagefolder", data_root=root, image_size=8, epochs=2, batch_size=6,
        threads=1, workers=0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "finished"
    train(replace(recipe, epochs=1), folder, progress=False)
    return folder


@pytest.fixture
def halted(recipe, tmp_path, monkeypatch):
    """A run that was stopped in its first epoch, with a checkpoint."""

    class Stopped(BaseException):
        pass

    def stop(session, images, labels):
        if session.steps == 2:
            raise Stopped
        return update(session, images, labels)

    update = Session.update
    monkeypatch.setattr(Session, "update", stop)
    with pytest.raises(Stopped):
        train(recipe, tmp_path / "run", progress=False, checkpoint_minutes=0)
    monkeypatch.undo()
    return tmp_path / "run"


OTHERS = pytest.mark.parametrize(
    ("names", "message"),
    [
        (("ant", "bear", "cat"), "number 1 is 'bee' there and 'bear' here"),
        (("bear", "bee", "cat"), "number 0 is 'ant' there and 'bear' here"),
        (("ant", "bee"), "number 2 is 'cat' there and missing here"),
        (("ant", "bee", "cat", "dog"), "number 3 is missing there and 'dog' here"),
    ],
)


@OTHERS
def test_another_folders_classes_are_refused_where_a_run_is_loaded(names, message, finished, tmp_path, capsys):
    other = image_folder(tmp_path, names)
    with pytest.raises(ValueError, match=rf"{finished} was trained on other classes .*{message}"):
        load_run(finished, other)
    assert main(["eval", str(finished), "--data_root", other]) == 2
    assert message in capsys.readouterr().err


@OTHERS
def test_another_folders_classes_are_refused_where_a_run_goes_on(names, message, recipe, halted, tmp_path):
    before = {path: path.read_bytes() for path in halted.rglob("*") if path.is_file()}
    other = replace(recipe, data_root=image_folder(tmp_path / "other", names))
    with pytest.raises(ValueError, match=message):
        train(other, halted, progress=False)
    assert {path: path.read_bytes() for path in halted.rglob("*") if path.is_file()} == before


def test_the_same_names_in_another_order_are_told_as_such(finished, recipe):
    source = load_data(recipe)
    with pytest.raises(ValueError, match=r"trained on the same classes in another order.*number 0 is 'ant' there and "):
        require_classes(finished, replace(source, classes=("bee", "ant", "cat")))


def test_a_finished_run_is_not_taken_for_one_on_other_classes(finished, tmp_path):
    other = replace(load_run(finished).recipe, data_root=image_folder(tmp_path, ("x", "y", "z")))
    with pytest.raises(ValueError, match="number 0 is 'ant' there and 'x' here"):
        train(other, finished, progress=False)


def test_more_images_are_fine_for_an_evaluation_and_refused_where_a_run_goes_on(finished, recipe, halted, tmp_path):
    more = image_folder(tmp_path / "more", NAMES, train=8, test=3)
    assert load_run(finished, more).dataset.num_test == 9
    with pytest.raises(ValueError, match=r"was trained on 18 images.*24 here"):
        train(replace(recipe, data_root=more), halted, progress=False)
    tests = image_folder(tmp_path / "tests", NAMES, test=3)  # their number moves nothing of the training
    assert train(replace(recipe, data_root=tests), halted, progress=False)["images"] == 9


def test_the_same_data_elsewhere_are_accepted(root, recipe, halted, finished, tmp_path):
    shutil.copytree(root, tmp_path / "copy")
    train(replace(recipe, data_root=str(tmp_path / "copy")), halted, progress=False)
    assert load_run(finished, str(tmp_path / "copy")).dataset.classes == NAMES


def test_a_run_without_the_record_is_accepted(recipe, halted, tmp_path):
    (halted / DATA).unlink()
    other = image_folder(tmp_path / "other", ("x", "y", "z"), train=7)
    train(replace(recipe, data_root=other), halted, progress=False)
    assert not (halted / DATA).exists()  # nobody knows what its first epochs were on
    load_run(halted, other)


def test_the_record_is_there_before_the_recipe_that_makes_a_run(recipe, tmp_path, fill_disk):
    source = load_data(recipe)
    patch = fill_disk(2)
    with pytest.raises(OSError, match="No space left"), ExitStack() as held:
        open_run(tmp_path, recipe, held, source=source)
    patch.undo()
    assert json.loads((tmp_path / DATA).read_text()) == data_fields(source)
    assert data_fields(source) == {"classes": list(NAMES), "num_train": 18, "num_test": 6}
    with ExitStack() as held:
        assert open_run(tmp_path, recipe, held, source=source) == ("start", None)


@pytest.mark.parametrize(
    "text", ["[", "[]", "{}", '{"classes": "abc", "num_train": 1}', '{"classes": [1], "num_train": 2}']
)
def test_a_damaged_record_is_named(text, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / DATA).write_text(text)
    with pytest.raises(ValueError, match=rf"{tmp_path}/run/{DATA} is damaged"):
        load_run(tmp_path / "run")


def test_a_release_remembers_too(finished, tmp_path):
    release(finished, tmp_path / "given", license="mit")
    other = image_folder(tmp_path / "other", ("x", "y", "z"))
    with pytest.raises(ValueError, match="given was trained on other classes"):
        load_run(tmp_path / "given", other)
    (finished / DATA).rename(tmp_path / DATA)
    try:
        release(finished, tmp_path / "given", license="mit")
    finally:
        (tmp_path / DATA).rename(finished / DATA)
    assert not (tmp_path / "given" / DATA).exists()
    assert torch.isfinite(load_run(tmp_path / "given", other).model(torch.zeros(1, 3, 8, 8))).all()


def test_a_run_that_was_to_fetch_its_data_is_opened_without_fetching(tmp_path):
    recipe = replace(find_recipe("cifar10-dr16"), download=True)
    with ExitStack() as held:
        open_run(tmp_path / "run", recipe, held)
    with pytest.raises(FileNotFoundError, match="no CIFAR-10 in"):
        load_run(tmp_path / "run", str(tmp_path / "typo"))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
