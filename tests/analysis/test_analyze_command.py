"""drnn analyze: bad options, and places and packages looked for before any work."""

import sys

import pytest

from drnn.cli.main import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gradients", "dr_resnet16_cifar", "--epochs", "2"], "without --dataset"),
        (["gradients", "dr_resnet16_cifar", "--measure_every", "0"], "measure_every 0 received"),
        (["gradients", "dr_resnet16_cifar", "--recipe", "beside.yaml"], "every_loop_weight 0.5 received in the recipe"),
        (["runs/none", "--device", "nonsense"], "'nonsense' is not usable here"),
        (["runs/none", "--course_epochs", "-2"], "course_epochs -2 received"),
    ],
)
def test_bad_options_get_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    (tmp_path / "beside.yaml").write_text("base: cifar10-dr16\nevery_loop_weight: 0.5\n")
    monkeypatch.chdir(tmp_path)
    assert main(["analyze", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["runs/none"], ["gradients", "dr_resnet16_cifar"]])
def test_the_command_looks_where_it_shall_write_and_draw_before_it_works(arguments, tmp_path, monkeypatch, capsys):
    for work in ("analyse_run", "study"):
        monkeypatch.setattr(f"drnn.cli.analyze.{work}", lambda *_: pytest.fail("worked before all was checked"))
    (tmp_path / "figures").touch()
    assert main(["analyze", *arguments, "--out", str(tmp_path / "figures")]) == 2
    assert "figures is no folder; name another place" in capsys.readouterr().err
    assert main(["analyze", *arguments, "--out", str(tmp_path)]) == 2
    assert "figures is no folder; name another place" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["analyze", *arguments, "--out", str(tmp_path / "new")]) == 2
    assert "a picture needs matplotlib: pip install 'drnn[plot]'" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
