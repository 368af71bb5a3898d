"""Arrays of the analysis against slow references, known values and limits."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from drnn.analysis.agreement import rank_correlation, seed_agreement
from drnn.analysis.answers import Answers, answers_of
from drnn.analysis.curves import curves_from_rows, read_curves
from drnn.analysis.galleries import galleries
from drnn.analysis.intervals import mean_interval, wilson
from drnn.analysis.loops import (
    calibration_error,
    early_and_late,
    error_by_loops,
    execution_map,
    loop_histogram,
    loops_by_class,
)
from drnn.analysis.norm_statistics import early_and_late_norms, norm_statistics, norms_of
from drnn.analysis.robustness import CORRUPTIONS, STRENGTHS, occlusion, robustness
from drnn.core import RecursiveBlock
from drnn.data import Normalize, load_dataset
from drnn.models import create_model
from drnn.training import evaluate

sys.path.insert(0, str(Path(__file__).parent.parent / "core"))
from reference import SlowBlock

COUNT = 24


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


@pytest.fixture(scope="module")
def pictures():
    return load_dataset("digits").test_images[:COUNT]


def prepare(images):
    return Normalize((0.5,), (0.25,))(images).double()


@pytest.fixture(scope="module")
def answers(network, pictures):
    labels = torch.arange(COUNT) % 10
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
    mean = sum(counts) / COUNT
    assert found["mean"] == pytest.approx(mean)
    assert found["std"] == pytest.approx((sum((c - mean) ** 2 for c in counts) / COUNT) ** 0.5)
    assert found["most"] == max(counts)
    assert found["expected"] == pytest.approx(2 * (0.7 + 0.49 + 0.343))
    by_class = loops_by_class(answers.loops, answers.labels, 10)
    for label in range(10):
        assert by_class["mean"][label] == pytest.approx(np.mean(counts[label::10]))


def test_figure_7_equals_the_slow_reference(network, pictures):
    network.train()
    try:
        slow = [SlowBlock(block) for block in blocks_of(network)]
        for batch in prepare(pictures).split(COUNT // 2):
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
    result = evaluate(create_model("resnet_digits", width=4).double(), pictures, torch.zeros(COUNT).long(), prepare)
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


def test_intervals_against_known_values():
    low, high = wilson(0, 10)  # 0 successes: z^2 / (n + z^2)
    assert (float(low), float(high)) == (0, pytest.approx(1.959964**2 / (10 + 1.959964**2), rel=1e-5))
    assert np.isnan(wilson(0, 0)[0])
    mean, low, high = mean_interval(np.array([1.0, 3.0]))
    assert (mean, high - mean) == (2, pytest.approx(1.959964 * 2**0.5 / 2**0.5, rel=1e-5))
    assert low == pytest.approx(2 - (high - 2))
    assert np.isnan(mean_interval(np.array([]))[0])


def test_calibration_error_equals_a_loop_over_bins():
    generator = np.random.default_rng(0)
    confidence, correct = generator.random(200), generator.random(200) < 0.6
    total = 0.0
    for low in range(15):
        inside = (confidence >= low / 15) & (confidence < (low + 1) / 15)
        if inside.any():
            total += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert calibration_error(confidence, correct) == pytest.approx(total)
    assert calibration_error(np.array([1.0]), np.array([True])) == 0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=30))
def test_rank_correlation_equals_scipys(pairs):
    first, second = (np.array(column) for column in zip(*pairs, strict=True))
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert np.isnan(rank_correlation(first, second))
    else:
        assert rank_correlation(first, second) == pytest.approx(spearmanr(first, second).statistic)


def test_agreement_of_a_run_with_itself_is_one():
    loops = np.array([0, 1, 1, 2, 3] * 10)
    (pair,) = seed_agreement([loops, loops])
    assert pair == {"first": 0, "second": 1, "correlation": 1.0, "low": 1.0, "high": 1.0}
    with pytest.raises(ValueError, match="evaluate all runs on the same images"):
        seed_agreement([loops, loops[:3]])


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


def test_robustness_asks_about_every_strength(pictures):
    found = robustness(lambda worse: (np.full(len(worse), 2), np.zeros(len(worse), bool)), pictures)
    assert {name: table["strength"].tolist() for name, table in found.items()} == {
        name: list(strengths) for name, strengths in STRENGTHS.items()
    }
    assert found["blur"]["loops"].tolist() == [2.0] * 6


def log(epoch, train_loss, test_loss):
    return {"epoch": epoch, "train_loss": train_loss, "train_error": 0.5, "test_loss": test_loss, "test_error": 0.5}


def test_curves_mark_where_a_run_came_apart():
    rows = [log(1, 2.5, 2.4), log(2, 1.0, 9.0), log(3, 1.0, 1.0), log(4, 3.0, 1.0), log(5, 1.0, None)]
    curves = curves_from_rows("run", rows, num_classes=10)
    assert curves.apart.tolist() == [2, 5]
    assert curves.diverged.tolist() == [4]
    stopped = curves_from_rows("run", rows[:3], num_classes=10, stopped=True)
    assert stopped.diverged.tolist() == [3]


def test_logs_are_read_tolerantly(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({**log(1, 1.0, 1.0), "new": [1]}) + "\n" + '{"epoch": 2, "train_er')
    curves = read_curves(tmp_path, 10)
    assert curves.epoch.tolist() == [1]
    path.write_text('{"epoch": 1}\n')
    assert np.isnan(read_curves(tmp_path, 10).test_error).all()
    path.write_text("oops\n" + json.dumps(log(1, 1.0, 1.0)))
    with pytest.raises(ValueError, match="line 1 is damaged"):
        read_curves(tmp_path, 10)
    path.write_text("")
    with pytest.raises(ValueError, match="no finished epoch"):
        read_curves(tmp_path, 10)
    with pytest.raises(FileNotFoundError, match="give the folder of a run"):
        read_curves(tmp_path / "none", 10)


def test_a_log_in_the_current_folder_has_its_name(tmp_path, monkeypatch):
    (tmp_path / "metrics.jsonl").write_text(json.dumps(log(1, 1.0, 1.0)))
    monkeypatch.chdir(tmp_path)
    assert read_curves(Path(), 10).name == tmp_path.name
