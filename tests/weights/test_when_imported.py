"""Something done once a package is imported."""

import importlib
import importlib.util
import sys

import pytest

from drnn.weights.when_imported import when_imported


@pytest.fixture
def package(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    (tmp_path / "drnn_probed.py").write_text("value = 3\n")
    yield tmp_path / "drnn_probed.py"
    sys.modules.pop("drnn_probed", None)


def test_the_action_follows_the_import_and_not_the_search(package):
    before, done = list(sys.meta_path), []
    for mark in "ab":
        when_imported("drnn_probed", lambda mark=mark: done.append(mark + str(sys.modules["drnn_probed"].value)))
    for _ in range(2):
        spec = importlib.util.find_spec("drnn_probed")
        assert spec is not None
        assert spec.origin == str(package)
    assert done == []
    importlib.import_module("drnn_probed")
    assert sorted(done) == ["a3", "b3"]
    assert sys.meta_path == before
    when_imported("drnn_probed", lambda: done.append("at once"))
    assert done[-1] == "at once"


def test_an_import_that_fails_is_waited_for_again(package):
    done = []
    when_imported("drnn_probed", lambda: done.append(True))
    package.write_text("raise OSError('not yet')\n")
    with pytest.raises(OSError, match="not yet"):
        importlib.import_module("drnn_probed")
    assert done == []
    package.write_text("value = 33333\n")
    importlib.import_module("drnn_probed")
    assert done == [True]


def test_a_package_that_is_not_there_is_not_found(package):
    when_imported("drnn_nowhere", lambda: None)
    assert importlib.util.find_spec("drnn_nowhere") is None
