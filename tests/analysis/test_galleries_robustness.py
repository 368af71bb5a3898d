"""Which images the galleries show, and how images are made worse."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from drnn.analysis.answers import Answers
from drnn.analysis.galleries import galleries
from drnn.analysis.robustness import CORRUPTIONS, STRENGTHS, made_worse, occlusion, robustness

sys.path.insert(0, str(Path(__file__).parent.parent / "core"))


def test_galleries_go_from_easy_to_hard():
    executed = np.array([[1, 1], [0, 0], [1, 0], [1, 0]], bool)
    confidence = np.array([0.9, 0.9, 0.5, 0.8])
    labels, nothing = np.array([0, 0, 0, 0]), np.zeros(4)
    found = Answers(labels, labels, confidence, executed, executed, nothing, np.array([2]), ("a", "b"), None, 0)
    easiest, hardest = galleries(found, 3)
    assert easiest.tolist() == [[1, 3, 2], [-1, -1, -1]]
    assert hardest.tolist() == [[0, 2, 3], [-1, -1, -1]]
    with pytest.raises(ValueError, match="show 1 or more"):
        galleries(found, 0)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_strength_zero_changes_nothing_and_more_changes_more(name, pictures):
    changes = []
    for strength in STRENGTHS[name]:
        worse = CORRUPTIONS[name](pictures, strength, torch.Generator().manual_seed(0))
        assert (worse.dtype, worse.shape) == (torch.uint8, pictures.shape)
        changes.append(float((worse.float() - pictures.float()).abs().mean()))
    assert changes[0] == 0
    assert changes == sorted(changes)
    assert len(set(changes)) == len(changes)


def test_blur_leaves_a_plain_image_and_occlusion_covers_its_share():
    plain = torch.full((2, 3, 32, 32), 200, dtype=torch.uint8)
    assert torch.equal(CORRUPTIONS["blur"](plain, 1.5, torch.Generator()), plain)
    covered = occlusion(plain, 0.2, torch.Generator().manual_seed(1)) != plain
    assert covered.float().mean((1, 2, 3)).tolist() == pytest.approx([0.2, 0.2], abs=0.01)
    assert not torch.equal(covered[0], covered[1])


def test_many_images_are_made_worse_part_by_part(pictures, monkeypatch):
    made = {}
    for at_once in (1 << 25, 5 * pictures[0].numel()):
        monkeypatch.setattr("drnn.analysis.robustness.AT_ONCE", at_once)
        made[at_once] = {
            name: made_worse(corrupt, pictures, 0.3, torch.Generator().manual_seed(0))
            for name, corrupt in CORRUPTIONS.items()
        }
    whole, parts = made.values()
    assert torch.equal(whole["blur"], parts["blur"])
    for name in ("noise", "occlusion"):
        assert parts[name].shape == pictures.shape
        same = made_worse(CORRUPTIONS[name], pictures[:1].expand(24, -1, -1, -1), 0.3, torch.Generator().manual_seed(0))
        assert len({image.numpy().tobytes() for image in same}) > 6  # parts are not alike


def test_robustness_asks_about_every_strength(pictures):
    found = robustness(lambda worse: (np.full(len(worse), 2), np.zeros(len(worse), bool)), pictures)
    assert {name: table["strength"].tolist() for name, table in found.items()} == {
        name: list(strengths) for name, strengths in STRENGTHS.items()
    }
    assert found["blur"]["loops"].tolist() == [2.0] * 6
