"""Findings on disk: arrays of an earlier analysis go, nobody else's do, and damage is named."""

import numpy as np
import pytest

from drnn.analysis import Findings
from drnn.analysis.findings import write_arrays

FACTS = {"run": "net-0", "images": 40}


def test_arrays_of_an_earlier_analysis_are_removed_and_nobody_elses(tmp_path):
    own = [tmp_path / "arrays" / name for name in ("norms.npz", "mine.npz", "mine.csv")]
    own[0].parent.mkdir()
    for path in own:
        path.write_text("mine")
    (tmp_path / "facts.json").write_text('{"files": "norms.npz"}')  # of no analysis
    Findings(FACTS, {"answers": {"b": np.zeros(2)}}).save(tmp_path)
    assert [path.read_text() for path in own] == ["mine"] * 3
    Findings(FACTS, {"norms": {"a": np.zeros(2)}, "answers": {"b": np.zeros((2, 2))}}).save(tmp_path)
    assert {path.name for path in (tmp_path / "arrays").iterdir()} == {
        "mine.npz", "mine.csv", "norms.npz", "norms.csv", "answers.npz",
    }  # fmt: skip
    Findings(FACTS, {"answers": {"b": np.ones(2)}}).save(tmp_path)
    assert {path.name for path in (tmp_path / "arrays").iterdir()} == {
        "mine.npz", "mine.csv", "answers.npz", "answers.csv",
    }  # fmt: skip
    found = Findings.load(tmp_path)
    assert (found.facts, set(found.tables)) == (FACTS, {"answers"})


def test_an_analysis_that_cannot_be_written_leaves_the_earlier_one(tmp_path):
    Findings(FACTS, {"norms": {"a": np.zeros(2)}}).save(tmp_path)
    with pytest.raises(ValueError, match="array 'b' of Python objects received"):
        Findings(FACTS, {"answers": {"a": np.ones(2), "b": np.array([{}])}}).save(tmp_path)
    assert set(Findings.load(tmp_path).tables) == {"norms"}


def test_an_npz_holds_its_arrays_alone(tmp_path, monkeypatch):
    def older(file, **arrays):  # than numpy 2.2, where every keyword is an array
        save(file, **{name: np.asarray(values) for name, values in arrays.items()})
        names.extend(arrays)

    save, names = np.savez_compressed, []
    monkeypatch.setattr(np, "savez_compressed", older)
    write_arrays(tmp_path / "a.npz", {"a": np.zeros(2)})
    assert names == ["a"]


@pytest.mark.parametrize("text", ["", "[]", '{"run": "net-0"}', '{"files": [1]}'])
def test_facts_that_list_no_arrays_are_named(text, tmp_path):
    (tmp_path / "facts.json").write_text(text)
    with pytest.raises(ValueError, match=r"facts.json is damaged, or lists no files; make it again with drnn analyze"):
        Findings.load(tmp_path)
