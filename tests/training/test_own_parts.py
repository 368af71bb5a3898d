"""Norms and gates that a user adds to the registries: recipes take them as they take their own."""

import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from drnn import from_pretrained, save_pretrained
from drnn.analysis.gradients.variants import build_variant
from drnn.cli.main import main
from drnn.models import Classifier, create_model, parts
from drnn.models.blocks import BasicBlock
from drnn.models.registry import MODELS
from drnn.training import find_recipe, train
from drnn.training.checkpoint import load_run
from drnn.training.recipe import Recipe
from drnn.training.recipe_fields import recipe_from_dict
from drnn.training.run_folder import SUMMARY, read_recipe

TRAINING = Path(__file__).parents[2] / "docs" / "training.md"
BUILT_IN = {"norm": (*parts.NORMS,), "gate": (*parts.SCORERS, "open"), "gate_noise": (*parts.DECISIONS,)}


class GroupNorms(nn.Module):
    """One for all loops."""

    def __init__(self, channels, num_loops):
        super().__init__()
        self.norm = nn.GroupNorm(4, channels)

    def forward(self, x, loop=0, groups=None):
        return self.norm(x)


class Closed(parts.Deterministic):
    def disturb(self, margin):
        return margin - 1.0


@pytest.fixture
def registries():
    """As they were, after the test."""
    before = [(registry, dict(registry)) for registry in (parts.NORMS, parts.SCORERS, parts.DECISIONS)]
    yield
    for registry, names in before:
        registry.clear()
        registry.update(names)


class Tiny(Classifier):
    """A convolution and a block that loops."""

    def __init__(self, spec):
        super().__init__(spec)
        self.conv1 = nn.Conv2d(spec.input_size[0], 8, 3, padding=1)
        self.block = parts.recursive(partial(BasicBlock, 8, 8), 8, 2, "ilvbn", "linear", "none")
        self.fc = nn.Linear(8, spec.num_classes)

    def stem(self, x):
        return self.conv1(x)

    def parts(self):
        return [self.block]

    def pooled(self, x):
        return x.mean((2, 3))


@dataclass(frozen=True)
class TinySpec:
    """What `NetworkSpec` asks for, and no more."""

    num_classes: int = 10
    input_size: tuple[int, int, int] = (1, 8, 8)
    target_rate: float | None = 0.7

    def build(self):
        return Tiny(self)


def test_a_network_of_ones_own_is_made_by_name_and_trained(monkeypatch, tmp_path):
    monkeypatch.setitem(MODELS, "tiny", TinySpec())
    model = create_model("tiny", num_classes=3, target_rate=0.5)
    assert (model.name, model.num_classes, model.target_rate) == ("tiny", 3, 0.5)
    with pytest.raises(ValueError, match="target_rate 2 received; a rate lies between 0 and 1"):
        create_model("tiny", target_rate=2)
    with pytest.raises(ValueError, match="tiny has no field norm"):
        create_model("tiny", norm="lvbn")
    recipe = replace(find_recipe("digits"), model="tiny", epochs=1, held_out=500, threads=1, zero_init_loops=True)
    assert train(recipe, tmp_path / "run", progress=False)["max_loops"] == 2
    run = load_run(tmp_path / "run")
    save_pretrained(run.model, tmp_path / "saved")
    x = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(from_pretrained(tmp_path / "saved")(x), run.model(x))
    with pytest.raises(ValueError, match="tiny has no block that loops, in stages"):
        build_variant("tiny", "lvbn")


def test_a_run_with_parts_of_ones_own_is_loaded_and_goes_on(registries, tmp_path):
    parts.NORMS["gn"], parts.SCORERS["mean"], parts.DECISIONS["shy"] = GroupNorms, parts.LinearScorer, Closed
    recipe = replace(
        find_recipe("digits"), norm="gn", gate="mean", gate_noise="shy", epochs=1, held_out=500, threads=1
    )  # fmt: skip
    summary = train(recipe, tmp_path, progress=False)
    assert read_recipe(tmp_path) == recipe
    run = load_run(tmp_path)
    kinds = {type(module) for module in run.model.modules()}
    assert {GroupNorms, parts.LinearScorer, Closed} <= kinds
    assert train(recipe, tmp_path, progress=False) == summary
    (tmp_path / SUMMARY).unlink()
    assert train(recipe, tmp_path, progress=False, resume=True)["acc1"] == summary["acc1"]


@pytest.mark.parametrize("field", BUILT_IN)
def test_a_name_that_no_registry_has_is_refused_with_those_it_has(field, registries, tmp_path, capsys):
    parts.NORMS["gn"] = GroupNorms
    known = [*BUILT_IN[field], *(["gn"] if field == "norm" else [])]
    message = re.escape(f"recipe field {field} = 'mine' is no name of one; choose {', '.join(map(repr, known))}")
    for make in (
        lambda: Recipe(**{field: "mine"}),
        lambda: replace(find_recipe("digits"), **{field: "mine"}),
        lambda: recipe_from_dict({field: "mine"}),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    assert main(["train", "digits", f"--{field}", "mine", "--out", str(tmp_path / "run")]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_the_help_lists_the_names(capsys):
    with pytest.raises(SystemExit):
        main(["train", "digits", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for field, names in BUILT_IN.items():
        help = re.search(rf"--{field} [A-Z_]+ (.*?)\(type", said.partition("options:")[2] or said).group(1)
        for name in names:
            assert f'"{name}"' in help, (field, name)


@pytest.mark.parametrize("name", [*BUILT_IN["gate_noise"], "null"])
def test_the_command_reads_names_as_text_and_null_as_none(name, capsys):
    assert main(["train", "digits", "--gate_noise", name, "--print_recipe"]) == 0
    assert f"gate_noise: {name}\n" in capsys.readouterr().out


def test_the_page_on_training_shows_how(registries, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    static, own, loop = ({}, {}, {})
    codes = re.findall(r"```python\n(.*?)```", TRAINING.read_text(), re.DOTALL)
    for code, shown in zip(codes, (static, own, loop), strict=True):
        exec(compile(code, str(TRAINING), "exec"), shown)
    assert torch.equal(static["model"].conv1.weight, static["theirs"].conv1.weight)
    assert sum(record.executed.shape[1] for record in loop["records"]) == 6
    assert loop["loss"].isfinite()
    shown = own
    assert shown["recipe"].norm not in BUILT_IN["norm"]
    assert shown["recipe"].gate not in BUILT_IN["gate"]
    assert torch.isfinite(shown["run"].model(torch.zeros(2, 1, 8, 8))).all()
    assert any(type(module) is parts.NORMS[shown["recipe"].norm] for module in shown["run"].model.modules())
