"""What figures say and sign is what was measured."""

from itertools import pairwise

import numpy as np

from drnn.analysis import Findings
from drnn.analysis.figures import blocks, curves, images, loops
from drnn.analysis.loops import early_and_late, error_by_loops

FACTS = {
    "run": "net-0", "model": "dr_resnet16_cifar", "weights": "bad24f0ad5aa", "dataset": "cifar10", "images": 40,
    "trained": {"commit": "aaa"}, "analysed": {"commit": "bbb"}, "left_out": {},
}  # fmt: skip


def test_error_against_loops_quotes_images_on_either_side_of_the_median():
    def says(images, wrong):  # of so many images with 0, 1, ... loops
        rows = [np.arange(count) < false for count, false in zip(images, wrong, strict=True)]
        table = error_by_loops(np.repeat(np.arange(len(images)), images), np.concatenate(rows))
        return loops.errors(Findings(FACTS, {"error_by_loops": table})).says

    assert says([10, 5, 60, 20, 5], [1, 0, 6, 4, 2]).endswith(
        " Of the images with fewer loops than the median 6.7% (1 of 15) are wrong, of those with more 24.0% (6 of 25)."
    )
    assert "median" not in says([1, 99], [0, 3])  # nobody has more


def test_captions_of_the_gallery_do_not_overlap():
    names = ["airplane", "automobile"]
    answers = {"labels": np.repeat([0, 1], 5), "predicted": np.repeat([1, 0], 5), "loops": np.full(10, 4)}
    rows, pixels = np.arange(10).reshape(2, 5), np.zeros((2, 5, 3, 8, 8), np.uint8)
    findings = Findings({**FACTS, "classes": names}, {"gallery": {"hardest": rows, "hardest_pixels": pixels},
                                                      "answers": answers})  # fmt: skip
    figure = images.gallery("hardest", findings).figure
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    for row in (boxes[:5], boxes[5:]):
        assert all(left.x1 < right.x0 for left, right in pairwise(row))
    assert boxes[5].y1 < boxes[0].y0


def test_each_log_of_figure_6_is_signed_by_itself():
    columns = {name: np.array([0.5]) for name in ("train_error", "test_error")} | {"epoch": np.array([1])}
    marks = {
        "net-0": {"apart": [], "diverged": [], "from": "dr_resnet16_cifar, commit aaa"},
        "naive-0": {"apart": [], "diverged": [], "from": f"{'held-out training images ' * 5}, commit ccc"},
    }
    findings = Findings({**FACTS, "curves": marks}, {f"curves_{name}": columns for name in marks})
    figure = curves.curves(findings).figure
    assert f"naive-0: {marks['naive-0']['from']} analysed" in " ".join(figure.get_supxlabel().split())
    assert "bad24f0ad5aa" not in figure.get_supxlabel()
    figure.draw_without_rendering()
    (signature,) = [text for text in figure.texts if "naive-0" in text.get_text()]
    assert signature.get_window_extent().x1 < figure.bbox.x1


def test_figure_7_is_signed_with_training_images_and_says_where_nobody_left():
    table = {}
    for block, left in (("block0", 0.5), ("block1", np.nan)):
        for group, value in (("executed", 1.0), ("skipped", left)):
            table[f"{block}.bn2.{group}_mean"] = np.full((2, 3), value)
            table[f"{block}.bn2.{group}_var"] = np.full((2, 3), value)
    picture = blocks.norms(Findings(FACTS, {"norms": table}))
    assert "statistics of its training images" in picture.figure.get_supxlabel()
    assert "standard deviations apart and nowhere, since nobody left there" in picture.says
    only = blocks.norms(Findings(FACTS, {"norms": {key: table[key] for key in table if key.startswith("block0")}}))
    assert [axes.get_title() for axes in only.figure.axes] == ["block 0, bn2: mean", "block 0, bn2: var"]
    assert "of the only recursive block. The means lie 0.50 standard deviations apart, root" in only.says


def test_early_and_late_are_told_by_their_loops():
    loops, wrong = np.repeat([1, 4], [4, 6]), np.zeros(10, bool)  # the median is the most
    tables = {"early_and_late": early_and_late(loops, np.full(10, 0.9), wrong)}
    assert "Early (at most 1 loop): 4 images, accuracy 100.00%" in blocks.early(Findings(FACTS, tables)).says
