"""Loops per image, class and group, and the norms' statistics, against slow references and limits."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from drnn.analysis.answers import answers_of
from drnn.analysis.loops import (
    early_and_late,
    error_by_loops,
    execution_map,
    loop_histogram,
    loops_by_class,
)
from drnn.analysis.norm_statistics import early_and_late_norms, norm_statistics, norms_of
from drnn.core import RecursiveBlock
from drnn.data import Normalize
from drnn.models import create_model
from drnn.training import evaluate

sys.path.insert(0, str(Path(__file__).parent.parent / "core"))
from reference import SlowBlock


@pytest.fixture(scope="module")
def network():
    """Two recursive blocks of three loops whose gates disagree about images."""
    torch.manual_seed(3)
    model = create_model("dr_resnet_digits", width=4)
    for block in model.modules():
        if isinstance(block, RecursiveBlock):
            scorer = block.gate.scorer
            for layer in (scorer.fc1, scorer.fc2):
                torch.nn.init.normal_(layer.weight, std=2)
            torch.nn.init.zeros_(scorer.fc2.bias)
    return model.double()


def prepare(images):
    return Normalize((0.5,), (0.25,))(images).double()


@pytest.fixture(scope="module")
def answers(network, pictures):
    labels = torch.arange(len(pictures)) % 10
    return answers_of(evaluate(network, pictures, labels, prepare), tuple("0123456789"), 0.7)


def blocks_of(network):
    return [block for block in network.blocks() if isinstance(block, RecursiveBlock)]


def slow_loops(network, pictures):
    """Image by image, loop by loop."""
    counts = []
    with torch.no_grad():
        for picture in pictures:
            x, done = network.stem(prepare(picture[None])), 0
            for block in network.blocks():
                if isinstance(block, RecursiveBlock):
                    x, loops = SlowBlock(block).evaluate(x)
                    done += loops[0]
                else:
                    x = block(x)
            counts.append(done)
    return counts


def test_figure_8_equals_the_slow_reference(network, pictures, answers):
    network.eval()
    counts = slow_loops(network, pictures)
    assert len(set(counts)) >= 3  # otherwise nothing is tested
    assert answers.loops.tolist() == counts
    found = loop_histogram(answers.loops, answers.slots, answers.target_rate)
    assert found["images"].tolist() == [counts.count(loops) for loops in range(7)]
    mean = sum(counts) / len(pictures)
    assert found["mean"] == pytest.approx(mean)
    assert found["std"] == pytest.approx((sum((c - mean) ** 2 for c in counts) / len(pictures)) ** 0.5)
    assert found["most"] == max(counts)
    assert found["expected"] == pytest.approx(2 * (0.7 + 0.49 + 0.343))
    by_class = loops_by_class(answers.loops, answers.labels, 10)
    for label in range(10):
        assert by_class["mean"][label] == pytest.approx(np.mean(counts[label::10]))


def test_figure_7_equals_the_slow_reference(network, pictures):
    network.train()
    try:
        slow = [SlowBlock(block) for block in blocks_of(network)]
        for batch in prepare(pictures).split(len(pictures) // 2):
            x = network.stem(batch)
            for block in network.blocks():
                if isinstance(block, RecursiveBlock):
                    slow[blocks_of(network).index(block)].train(x)
                x = block(x)
        statistics = norm_statistics(network)
        assert [(entry.block, entry.norm) for entry in statistics] == [(b, n) for b in (0, 1) for n in ("bn1", "bn2")]
        names = {"executed": "running", "skipped": "skipped"}
        differing = 0
        for entry, norms in zip(statistics, [norm for block in slow for norm in block.norms], strict=True):
            for loop, norm in enumerate(norms):
                for ours, theirs in names.items():
                    for moment in ("mean", "var"):
                        array = getattr(entry, f"{ours}_{moment}")[loop]
                        if np.isnan(array).all():  # nobody ever left there: the reference is as it began
                            array = np.full_like(array, moment == "var")
                        np.testing.assert_allclose(array, norm.running[f"{theirs}_{moment}"].numpy(), rtol=1e-9)
                differing += not np.allclose(entry.executed_mean[loop], entry.skipped_mean[loop])
        assert differing > 0
        arrays = {key: value for entry in statistics for key, value in entry.arrays().items()}
        chosen = early_and_late_norms(norms_of(arrays))  # as the figure chooses
        assert [(entry.block, entry.norm) for entry in chosen] == [(0, "bn2"), (1, "bn2")]
    finally:
        network.eval()


def test_a_network_without_decision_norms_has_no_figure_7():
    assert norm_statistics(create_model("r_resnet53_lvbn", width=4)) == []
    assert early_and_late_norms([]) == []


def test_a_static_network_has_nothing_to_say(pictures):
    result = evaluate(
        create_model("resnet_digits", width=4).double(), pictures, torch.zeros(len(pictures)).long(), prepare
    )
    with pytest.raises(ValueError, match="no gates"):
        answers_of(result, tuple("0123456789"), None)


def test_the_heat_map_counts_every_loop_once(answers):
    found = execution_map(answers.executed, answers.arrived, answers.slots)
    for block in range(2):
        for loop in range(3):
            ran = answers.executed[:, 3 * block + loop]
            came = answers.arrived[:, 3 * block + loop]
            assert found["executed"][block, loop] == ran.mean()
            assert found["rate"][block, loop] == pytest.approx(ran[came].mean() if came.any() else np.nan, nan_ok=True)
    assert found["executed"].sum() == pytest.approx(answers.loops.mean())


def test_a_shorter_blocks_missing_loops_are_not_zero():
    found = execution_map(np.ones((2, 3), bool), np.ones((2, 3), bool), np.array([1, 2]))
    np.testing.assert_array_equal(found["executed"], [[1, np.nan], [1, 1]])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.floats(0.1, 1)), min_size=2, max_size=40))
def test_groups_add_up_to_all_images(rows):
    loops, wrong, confidence = (np.array(column) for column in zip(*rows, strict=True))
    table = error_by_loops(loops, wrong)
    assert table["images"].sum() == len(rows)
    assert table["wrong"].sum() == wrong.sum()
    assert (table["low"] <= table["error"] + 1e-12).all()
    assert (table["error"] <= table["high"] + 1e-12).all()
    halves = early_and_late(loops, confidence, wrong)
    assert halves["images"].sum() == len(rows)
    assert (halves["images"][1] == 0) == (len(set(loops)) == 1)
    assert np.nansum(halves["images"] * halves["accuracy"]) == pytest.approx((~wrong).sum())


@pytest.mark.parametrize(
    ("loops", "early", "most"),
    [
        ([1, 2, 2, 3], [True, True, True, False], [2, 3]),
        ([0, 1, 4, 4, 4], [True, True, False, False, False], [1, 4]),  # the median is the most
        ([1, 1, 2, 2], [True, True, False, False], [1, 2]),
        ([3, 3], [True, True], [3, np.nan]),
    ],
)
def test_early_are_those_up_to_the_median_or_those_with_fewer_than_the_most(loops, early, most):
    early = np.array(early)
    table = early_and_late(np.array(loops), np.full(len(loops), 0.9), ~early)
    assert table["images"].tolist() == [early.sum(), (~early).sum()]
    np.testing.assert_array_equal(table["accuracy"], [1, 0 if (~early).any() else np.nan])
    np.testing.assert_array_equal(table["most"], most)
