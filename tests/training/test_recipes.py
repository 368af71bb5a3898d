"""Recipes by name and in files."""

from dataclasses import replace

import pytest

from drnn import list_models
from drnn.training import RECIPES, Recipe, find_recipe
from drnn.training.network import build_model
from drnn.training.trainer import load_data


def test_every_named_recipe_is_a_known_network():
    for name in RECIPES:
        recipe = find_recipe(name)
        assert recipe.name == name
        assert recipe.model in list_models()
    assert len([name for name in RECIPES if name.startswith("cifar10-")]) == 3 * 15
    trained = {find_recipe(name).model for name in RECIPES}
    assert trained == set(list_models())  # every row of Tables 1-3


def test_the_papers_recipe():
    recipe = find_recipe("cifar10-dr74")
    assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.weight_decay) == (350, 256, 0.1, 5e-4)
    assert (recipe.milestones, recipe.padding, recipe.flip) == ((150, 250), 4, True)


def test_the_papers_imagenet_recipes():
    recipe, mobile, star = (find_recipe(f"imagenet-{key}") for key in ("dr53", "dr-mobilenetv2", "r53-star"))
    assert (recipe.epochs, recipe.lr, recipe.weight_decay, recipe.milestones) == (100, 0.1, 1e-4, (30, 60, 90))
    assert (mobile.epochs, mobile.lr, mobile.milestones) == (400, 0.01, (200, 300))
    assert (star.epochs, star.lr, star.weight_decay, star.milestones) == (180, 0.01, 5e-4, (100, 130, 160))


def test_modern_recipes_are_the_same_for_static_and_recursive_networks():
    recipes = [find_recipe(f"cifar10-{key}-modern").to_dict() for key in ("dr74", "resnet110")]
    assert {key for key in recipes[0] if recipes[0][key] != recipes[1][key]} == {"name", "model"}
    assert all(recipes[0][key] for key in ("nesterov", "label_smoothing", "cutout", "ema_decay"))


def test_digits_recipes_differ_only_in_the_network():
    loops, static = find_recipe("digits").to_dict(), find_recipe("digits-static").to_dict()
    differing = {key for key in loops if loops[key] != static[key]}
    assert differing == {"name", "model", "target_rate"}


@pytest.mark.parametrize(
    "field", [{"epochs": 0}, {"lr": -1.0}, {"target_rate": 1.5}, {"momentum": 1.0}, {"name": "a/b"}]
)
def test_recipes_refuse_values_out_of_range(field):
    (name,) = field
    with pytest.raises(ValueError, match=f"recipe field {name} = "):
        Recipe(**field)


def test_recipe_files_build_on_named_recipes(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("base: digits\nepochs: 3\n")
    assert find_recipe(str(file)) == replace(find_recipe("digits"), name="mine", epochs=3)
    file.write_text("- 1\n")
    with pytest.raises(ValueError, match="holds a list"):
        find_recipe(str(file))
    with pytest.raises(FileNotFoundError, match="no recipe file"):
        find_recipe(str(tmp_path / "none.yaml"))
    with pytest.raises(ValueError, match="did you mean digits"):
        find_recipe("digit")


def test_recipe_files_build_on_files_beside_them(tmp_path):
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "first.yaml").write_text("base: digits\nepochs: 3\nlr: 0.2\n")
    (tmp_path / "second.yml").write_text("base: ours/first.yaml\nlr: 0.3\n")
    found = find_recipe(str(tmp_path / "second.yml"))
    assert found == replace(find_recipe("digits"), name="second", epochs=3, lr=0.3)
    (tmp_path / "second.yml").write_text("base: ours/none.yaml\n")
    with pytest.raises(FileNotFoundError, match=r"ours/none\.yaml"):
        find_recipe(str(tmp_path / "second.yml"))


def test_recipe_files_that_build_on_each_other_are_refused(tmp_path):
    (tmp_path / "one.yaml").write_text("base: two.yaml\n")
    (tmp_path / "two.yaml").write_text("base: ./one.yaml\n")
    with pytest.raises(ValueError, match=r"one\.yaml builds on itself"):
        find_recipe(str(tmp_path / "one.yaml"))


@pytest.mark.parametrize("gate", [None, "open"])
def test_loops_begin_as_the_identity_where_asked(gate):
    recipe = replace(find_recipe("digits"), gate=gate, target_rate=None, zero_init_loops=True)
    model = build_model(recipe, load_data(recipe))
    for norm in (model.layer2[1].body.bn2, model.layer2[2].body.bn2):
        assert [bool(part.weight.any()) for part in norm.loops] == [False] * 3
    assert model.layer2[0].bn2.weight.all()
    with pytest.raises(ValueError, match="zero_init_loops received; no block of this resnet_digits loops"):
        build_model(replace(recipe, model="resnet_digits", gate=None), load_data(recipe))
