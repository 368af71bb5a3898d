"""The command line as a user meets it."""

import errno
import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from drnn import __version__
from drnn.cli.main import EXTRAS, VERBS, main
from drnn.models import Classifier

TINY = ["--epochs", "1", "--batch_size", "128", "--held_out", "1000", "--threads", "1", "--quiet"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two finished runs, made by the command itself."""
    folder = tmp_path_factory.mktemp("cli")
    for recipe in ("digits", "digits-static"):
        assert main(["train", recipe, "--out", str(folder / recipe), *TINY]) == 0
    return str(folder / "digits"), str(folder / "digits-static")


def test_help_names_every_verb(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert [verb for verb in VERBS if verb not in shown] == []
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.parametrize(
    "arguments", [("-c", "import drnn"), ("-m", "drnn", "--version"), ("-m", "drnn", "bench", "-h")]
)
def test_nothing_waits_for_packages_as_large_as_torch_that_it_does_not_use(arguments):
    command = [sys.executable, "-X", "importtime", *arguments]  # which tells every module on stderr
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()
    imported = {line.rpartition("|")[2].strip() for line in told}
    assert {"torch", "drnn.models"} <= imported
    assert not imported & {"torchvision", "torch._dynamo", "sklearn", "matplotlib"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert len(capsys.readouterr().out) > 80


def test_eval_repeats_the_runs_own_numbers(runs, capsys):
    assert main(["eval", runs[0], "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    summary = json.loads(Path(runs[0], "summary.json").read_text())
    assert result["acc1"] == summary["acc1"]
    assert main(["eval", runs[0]]) == 0
    assert "test accuracy" in capsys.readouterr().out


def test_eval_takes_as_many_images_at_a_time_as_it_is_told(runs, capsys, monkeypatch):
    seen, forward = [], Classifier.forward_with_gates
    monkeypatch.setattr(Classifier, "forward_with_gates", lambda net, x: seen.append(len(x)) or forward(net, x))
    assert main(["eval", runs[0], "--batch_size", "7"]) == 0
    assert max(seen) == 7
    assert main(["eval", runs[0], "--batch_size", "0"]) == 2
    assert "--batch_size 0 received" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["calibrate", "--macs", "0.5"], ["curve"], ["predict", "image.png", "--budget"], ["eval", "--budget"]]
)
def test_a_static_network_has_nothing_to_turn(runs, arguments, capsys):
    before = sorted(Path(runs[1]).iterdir())
    assert main([arguments[0], runs[1], *arguments[1:]]) == 2
    assert "resnet_digits has no gates with a threshold to turn; give a run of" in capsys.readouterr().err
    assert sorted(Path(runs[1]).iterdir()) == before


def test_compare_prints_a_table_and_writes_its_numbers(runs, tmp_path, capsys):
    file = tmp_path / "sub" / "compare.json"
    assert main(["compare", *runs, "--rounds", "3", "--batch_sizes", "[1,8]", "--json", str(file)]) == 0
    table = capsys.readouterr().out
    result = json.loads(file.read_text())
    assert [run["model"] for run in result["runs"]] == ["dr_resnet_digits", "resnet_digits"]
    for size in ("1", "8"):
        assert result["time"][size]["ratio"] > 0
        assert f"batch {size}" in table
    *lines, empty, said = table.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert (empty, lines[0].split()[2:5]) == ("", ["digits", "|", "digits-static"])
    first, second = (run["acc1"] for run in result["runs"])
    assert f"over the same 1,000 held-out training images: {100 * (first - second):+.2f} points, 95 %" in said
    assert {"commit", "torch", "processor", "command", "date"} <= result["environment"].keys()


def test_compare_refuses_other_test_images(runs, tmp_path, capsys):
    other = str(tmp_path / "other")
    assert main(["train", "digits-static", "--out", other, *TINY, "--held_out", "999"]) == 0
    capsys.readouterr()
    assert main(["compare", runs[0], other]) == 2
    assert "different test images (digits); compare like with like" in capsys.readouterr().err


def test_train_shows_the_resolved_recipe(capsys):
    assert main(["train", "digits", "--lr", "0.3", "--print_recipe"]) == 0
    recipe = yaml.safe_load(capsys.readouterr().out)
    assert (recipe["lr"], recipe["model"]) == (0.3, "dr_resnet_digits")


def test_lists(capsys):
    assert main(["models", "*_digits"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == [
        "dr_resnet_digits",
        "resnet_digits",
    ]
    assert main(["recipes"]) == 0
    assert "cifar10-dr16" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "did you mean 'train'"),
        (["train"], "name a recipe first"),
        (["train", "digts"], "did you mean digits"),
        (["train", "digits", "--model", "dr_resnet_digts", "--print_recipe", "--lr", "-1"], "lr = -1"),
        (["train", "digits", "--model", "dr_resnet_digts"], "did you mean dr_resnet_digits"),
        (["train", "digits", "--dataset", "cifar"], "did you mean 'cifar10'"),
        (["train", "digits", "--device", "tpu9"], "not usable here"),
        (["train", "cifar10-dr16", "--data_root", "nowhere"], "no CIFAR-10 in nowhere"),
        (["train", "digits-static", "--norm", "ilvbn"], "norm 'ilvbn' received; no block of this resnet_digits loops"),
        (["eval", "nowhere"], "nowhere has no recipe.yaml"),
        (["models", "xyz*"], "no network matches"),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "package", "extra"),
    [
        (["export", "dr_resnet_digits", "net.onnx"], "onnx", "export"),
        (["bench", "export", "--first", "dr_resnet_digits", "--mean_loops", "3"], "onnx", "export"),
    ],
)
def test_a_missing_optional_package_is_named_with_its_extra(arguments, package, extra, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)  # as python itself marks a package that is not to be found
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error == f"drnn {arguments[0]}: {package} is not installed; get it with: pip install 'drnn[{extra}]'\n"


def test_another_missing_module_still_raises(monkeypatch):
    monkeypatch.setitem(sys.modules, "drnn.cli.models", None)
    with pytest.raises(ModuleNotFoundError, match=r"drnn\.cli\.models"):
        main(["models"])


def test_every_extra_that_the_package_names_is_known_to_the_command():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert set(EXTRAS.values()) == project["optional-dependencies"].keys() - {"dev"}
    for package, extra in EXTRAS.items():
        assert any(line.startswith(package) for line in project["optional-dependencies"][extra])


def test_an_unknown_option_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "digits", "--learning_rate", "1"])
    assert stop.value.code == 2
    assert "learning_rate" in capsys.readouterr().err


def test_the_command_exits_with_2_on_a_mistake():
    done = subprocess.run([sys.executable, "-m", "drnn.cli.main", "trian"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "drnn: there is no verb 'trian'; did you mean 'train'?\n"


def test_compare_looks_where_it_shall_write_before_it_measures(tmp_path, capsys):
    assert main(["compare", str(tmp_path / "none"), str(tmp_path / "none"), "--json", str(tmp_path)]) == 2
    assert "is a folder; name a file in it" in capsys.readouterr().err


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_is_no_mistake(unbuffered):
    """As in ``drnn recipes | head -1``: it ends as other programs do, whether it notices at a line or at its end."""
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-m", "drnn", "recipes"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as writer:
        writer.stdout.close()
        assert writer.stderr.read() == b""
    assert writer.returncode == 128 + signal.SIGPIPE


@pytest.mark.parametrize("captured", ["capfd", "capsys"])
def test_another_broken_pipe_is_told(captured, monkeypatch, request):
    def broken(argv):
        raise BrokenPipeError(errno.EPIPE, "a worker has left")

    monkeypatch.setattr("drnn.cli.recipes.run", broken)
    output = request.getfixturevalue(captured)
    assert main(["recipes"]) == 2
    assert "a worker has left" in output.readouterr().err
