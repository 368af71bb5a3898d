"""Cards: what they say of a network, and what they do not let anybody say."""

import json
from dataclasses import replace

import pytest
import torch
import yaml

from drnn import create_model, save_pretrained
from drnn.weights import Card
from drnn.weights.card import readme


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"error": 0.05}, "card's error 0.05 received; give a list of .* 0..1"),
        ({"error": [-5.0]}, r"card's error \[-5.0\] received"),
        ({"error": [5]}, r"card's error \[5\] received"),
        ({"error": None}, "card's error None received"),
        ({"loops_histogram": [1.5, 2]}, "card's loops_histogram .* whole numbers, 0 or more"),
        ({"loops_histogram": [-1]}, "card's loops_histogram"),
        ({"loops_histogram": 3}, "card's loops_histogram 3 received; give a list"),
        ({"mean_macs": -1.0}, "card's mean_macs -1.0 received"),
        ({"mean_macs": True}, "card's mean_macs True received"),
        ({"kind": "looping"}, "card's kind 'looping' received; give None or one of dynamic, "),
    ],
)
def test_a_card_of_impossible_numbers_is_refused(known, message):
    with pytest.raises(ValueError, match=message):
        Card("dr_resnet_digits", 3, 4, **known)


def test_a_card_takes_tuples_for_lists():
    card = Card("dr_resnet_digits", 3, 4, error=(0.1, 0), loops_histogram=(1, 2))
    assert (card.error, card.loops_histogram) == ([0.1, 0], [1, 2])


def test_the_card_says_what_was_measured_and_what_was_not(tmp_path):
    model = create_model("dr_resnet_digits")
    card = Card.of(
        model, dataset="digits", recipe="digits", error=[0.01, 0.03], loops_histogram=[1, 2], mean_macs=4.87e6
    )
    save_pretrained(model, tmp_path, card=card)
    shown = (tmp_path / "README.md").read_text()
    assert shown.startswith("---\nlibrary_name: drnn\nlicense: apache-2.0\n")
    assert "| test error | 2.00% +- 1.41% (n = 2, standard deviation) |" in shown
    assert "| parameters | 228,430 |" in shown
    assert json.loads((tmp_path / "card.json").read_text())["loops_histogram"] == [1, 2]
    assert Card.of(model).error_text == "not measured"
    assert Card.of(model, error=[0.01]).error_text == "1.00% (n = 1)"


def test_the_card_says_what_sort_of_network_it_is(tmp_path):
    told = {
        "dr_resnet_digits": ([3, 1, 2, 4, 0, 0, 0], "whose blocks loop, and stop where the image is easy"),
        "resnet_digits": ([10], "without loops to leave"),
        "r_resnet53_lvbn": ([0, 0, 10], "whose blocks loop, as often for every image"),
        "aig_resnet110_cifar": ([0, 3, 7], "whose blocks run once, or not at all"),
        "rcnn160_cifar": ([], "without loops to leave"),
    }
    for name, (histogram, words) in told.items():
        with torch.device("meta"):
            model = create_model(name)
        assert words in readme(Card.of(model, loops_histogram=histogram))
    save_pretrained(model := create_model("dr_resnet_digits", gate=None), tmp_path)
    assert json.loads((tmp_path / "card.json").read_text())["kind"] == "recursive"
    assert told["r_resnet53_lvbn"][1] in (tmp_path / "README.md").read_text()
    older = replace(Card.of(model), kind=None)
    assert "An image classifier of drnn." in readme(older)
    save_pretrained(model, tmp_path, card=older)
    assert json.loads((tmp_path / "card.json").read_text())["kind"] == "recursive"
    with pytest.raises(ValueError, match="a card of kind 'static' received for dr_resnet_digits, which is 'recursive'"):
        save_pretrained(model, tmp_path, card=replace(older, kind="static"))


def test_text_of_a_card_stays_text(tmp_path):
    hostile = "a | b\n\n# Title <script>x</script> [y](z) `c` *d* _e_ \\"
    license = "mit\ninference: false\n---\n# Title"
    model = create_model("dr_resnet_digits")
    plain, nasty = Card.of(model), Card.of(model, dataset=hostile, recipe=hostile, commit=hostile, license=license)
    shown = []
    for card in (plain, nasty):
        save_pretrained(model, tmp_path, card=card)
        shown.append((tmp_path / "README.md").read_text())
    _, header, body = shown[1].split("---\n", 2)
    assert yaml.safe_load(header) == {
        "library_name": "drnn",
        "license": "mit inference: false --- # Title",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "dynamic-recursive-network"],
    }
    assert len(shown[0].splitlines()) == len(shown[1].splitlines())
    (row,) = (line for line in body.splitlines() if line.startswith("| data set |"))
    assert row.count("|") == 3
    assert not set("<>[]`*\\") & set(row)
    save_pretrained(model, tmp_path, card=Card.of(model, recipe="cut_out, 20 epochs"))
    assert "| recipe | cut_out, 20 epochs |" in (tmp_path / "README.md").read_text()
