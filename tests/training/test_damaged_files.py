"""Recipes and summaries that somebody, or a crash, has spoilt."""

from contextlib import ExitStack
from dataclasses import replace

import pytest

from drnn.training import RECIPES, find_recipe
from drnn.training.listing import list_runs
from drnn.training.recipe_fields import recipe_from_dict, recipe_text
from drnn.training.run_folder import open_run, read_metrics, read_recipe


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("epochs: abc", "field epochs = 'abc' is no int"),
        ("epochs: 2.5", "field epochs = 2.5 is no int"),
        ("epochs: true", "field epochs = True is no int"),
        ("epochs:", "field epochs = None is no int"),
        ("lr: [1]", r"field lr = \[1\] is no float"),
        ("weight_decay: 5e", "field weight_decay = '5e' is no float"),
        ("lr: .inf", "field lr = inf is out of range"),
        ("rate_weight: .nan", "field rate_weight = nan is out of range"),
        ("warmup_epochs: -1", "field warmup_epochs = -1 is out of range"),
        ("seed: 99999999999999999999", "field seed = 99999999999999999999 is out of range"),
        ("target_rate: half", r"field target_rate = 'half' is no float \| None"),
        ("milestones: 3", r"field milestones = 3 is no tuple\[int, ...\]"),
        ("milestones: [1, two]", r"field milestones = \[1, 'two'\] is no tuple\[int, ...\]"),
        ("flip: 1", "field flip = 1 is no bool"),
        ("model: 5", "field model = 5 is no str"),
        ("norm: 5", "field norm = 5 is no "),
        ("norm: batch", "field norm = 'batch' is no "),
        ("gate: ajar", "field gate = 'ajar' is no "),
        ("epochs: 0", "field epochs = 0 is out of range"),
    ],
)
def test_a_recipe_with_a_wrong_value_is_named_with_its_file(field, message, tmp_path):
    (tmp_path / "recipe.yaml").write_text(f"{field}\n")
    with pytest.raises(ValueError, match=rf"{tmp_path}/recipe\.yaml is no recipe: recipe {message}"):
        read_recipe(tmp_path)
    with pytest.raises(ValueError, match=rf"{tmp_path}/recipe\.yaml is no recipe: recipe {message}"):
        find_recipe(str(tmp_path / "recipe.yaml"))
    (line,) = list_runs(tmp_path)
    assert "is no recipe" in line.state


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("5e-4", 5e-4),
        ("1E2", 100),
        (".5e+1", 5),
        ("5.0e-4", 5e-4),
    ],
)
def test_numbers_are_read_as_they_are_usually_written(written, value, tmp_path):
    """YAML 1.1 asks for a point in them."""
    (tmp_path / "mine.yaml").write_text(f"base: digits\nlr: {written}\n")
    assert find_recipe(str(tmp_path / "mine.yaml")).lr == value


@pytest.mark.parametrize("name", ["5e4", "12e4567", "1e-3", "on", "null", "1.5", "plain"])
def test_names_that_look_like_numbers_are_read_as_they_were_written(name, tmp_path):
    """As hashes may be that name a run."""
    (tmp_path / "recipe.yaml").write_text(recipe_text(replace(find_recipe("digits"), name=name).to_dict()))
    assert read_recipe(tmp_path).name == name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[1, 2", "is damaged or no YAML: "),
        (b"\xff\xfe\x00", "is damaged or no YAML: "),
        (b"[" * 10_000, "is damaged or no YAML: "),
        (b"epochs: 2026-02-31\n", "is damaged or no YAML: day "),
        (b"epochs: 2\nlr: 1\nepochs: 3\n", "is damaged or no YAML: epochs stands there twice, again in line 3"),
        (b"!!map [a, b]\n", "is damaged or no YAML: expected a mapping node, but found sequence"),
        (b"- 1\n", "holds a list; a recipe holds lines of 'field: value'"),
        (b"", "holds a NoneType; a recipe holds "),
    ],
)
def test_a_recipe_without_fields_is_named_wherever_it_is_read(content, message, tmp_path):
    (tmp_path / "recipe.yaml").write_bytes(content)
    for read in (lambda: read_recipe(tmp_path), lambda: find_recipe(str(tmp_path / "recipe.yaml"))):
        with pytest.raises(ValueError, match=rf"^{tmp_path}/recipe\.yaml {message}"):
            read()
    (line,) = list_runs(tmp_path)
    assert message in line.state


def test_every_recipe_comes_back_from_its_own_fields():
    for name in RECIPES:
        assert recipe_from_dict(find_recipe(name).to_dict()) == find_recipe(name)
    assert recipe_from_dict({"lr": 1, "milestones": (1, 2)}).milestones == (1, 2)


@pytest.mark.parametrize("base", ["5", "[digits]", "digit"])
def test_a_base_that_is_no_name_is_named_with_its_file(base, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(f"base: {base}\n")
    with pytest.raises(ValueError, match=r"mine\.yaml is no recipe: there is no recipe "):
        find_recipe(str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize("content", [b"", b'{"acc1": 0.', b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_summary_is_named(content, tmp_path):
    recipe = find_recipe("digits")
    with ExitStack() as held:
        open_run(tmp_path, recipe, held)
    (tmp_path / "summary.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"{tmp_path}/summary\.json is damaged: .*; remove it"):
        open_run(tmp_path, recipe, ExitStack())
    (tmp_path / "summary.json").unlink()
    with ExitStack() as held:
        assert open_run(tmp_path, recipe, held) == ("continue", None)
        (tmp_path / "environment.json").write_bytes(content)
    with ExitStack() as held:
        assert open_run(tmp_path, recipe, held) == ("continue", None)


LINE = b'{"epoch": 1, "test_error": 0.25, "mean_loops": 1.5}\n'


@pytest.mark.parametrize(
    "damaged", [b"oops", b"", b'{"epoch": 1, "test_err', b"[1]", b"\xff\xfe", b"\x00" * 9, b"[" * 100_000]
)
def test_a_damaged_line_of_the_metrics_is_named_unless_it_is_the_last(damaged, tmp_path):
    (tmp_path / "recipe.yaml").write_text(recipe_text(find_recipe("digits").to_dict()))
    log = tmp_path / "metrics.jsonl"
    log.write_bytes(LINE + damaged)
    assert [line["epoch"] for line in read_metrics(tmp_path)] == [1]
    (line,) = list_runs(tmp_path)
    assert (line.done, line.last_error, line.state) == (1, 0.25, "unfinished")
    log.write_bytes(LINE + damaged + b"\n" + LINE)
    with pytest.raises(ValueError, match=rf"^{log}, line 2 is damaged: ") as refused:
        read_metrics(tmp_path)
    (line,) = list_runs(tmp_path)
    assert (line.model, line.epochs, line.last_error) == ("dr_resnet_digits", 36, None)
    assert line.state == str(refused.value)


def test_a_run_that_logged_nothing_has_no_metrics(tmp_path):
    assert read_metrics(tmp_path) == []


def test_a_line_without_an_error_does_not_hide_the_other_runs(tmp_path):
    for name, line in (("bad", b'{"epoch": 5}\n'), ("good", LINE)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").write_text(recipe_text(find_recipe("digits").to_dict()))
        (tmp_path / name / "metrics.jsonl").write_bytes(line)
    bad, good = list_runs(tmp_path)
    assert "has a line without test_error" in bad.state
    assert good.last_error == 0.25
