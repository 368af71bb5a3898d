"""A number's surroundings name the code that made it."""

import os
import shlex
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

import drnn
from drnn.provenance import environment
from drnn.training import distributed, find_recipe
from drnn.training.run_folder import open_run, run_environment

SAYS = "from drnn.provenance import environment; print(environment('cpu')['commit'], environment('cpu')['command'])"


def git(folder, *arguments):
    name = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(
        ["git", *name, *arguments], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def said(folder):
    run = subprocess.run([sys.executable, "-c", SAYS], cwd=folder / "src", capture_output=True, text=True, check=True)
    return run.stdout.strip()


def repository(folder):
    """The package, committed, in a repository of its own."""
    package = Path(drnn.__file__).parent
    shutil.copytree(package, folder / "src/drnn", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".gitignore").write_text("__pycache__/\n")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "all")
    return git(folder, "rev-parse", "--short=12", "HEAD")


def test_results_do_not_make_the_code_another_one(tmp_path):
    head = repository(tmp_path)
    (tmp_path / "result.json").write_text("{}")
    assert said(tmp_path) == f"{head} -c"
    code = tmp_path / "src/drnn/provenance.py"
    code.write_text(code.read_text() + "# changed\n")
    assert said(tmp_path) == f"{head}-dirty -c"


def test_a_copy_in_a_repository_of_something_else_has_no_commit(tmp_path):
    repository(tmp_path)
    git(tmp_path, "rm", "-rq", "--cached", "src")
    (tmp_path / ".gitignore").write_text("src/\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "something else")
    assert said(tmp_path) == "None -c"


LATER = """
import subprocess
from drnn.cli.train import run
import drnn.cli.train
from drnn.provenance import environment

def other(*_):
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "later",
                    "--allow-empty"], check=True)
    print(environment("cpu")["commit"])
    raise SystemExit

drnn.cli.train.train = other
run(["digits", "--quiet"])
"""
JOBS = LATER.replace(
    "from drnn.cli.train import run\nimport drnn.cli.train\n", "import drnn.reproduce.runner\n"
).replace(
    'drnn.cli.train.train = other\nrun(["digits", "--quiet"])',
    "drnn.reproduce.runner.require_apart = other\ndrnn.reproduce.run_jobs([], 1)",
)


@pytest.mark.parametrize("program", [LATER, JOBS], ids=["train", "reproduce"])
def test_the_commit_is_that_of_the_start(program, tmp_path):
    head = repository(tmp_path)
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path / "src", capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == head
    assert git(tmp_path, "rev-parse", "--short=12", "HEAD") != head


def test_the_command_can_be_run_again(monkeypatch):
    arguments = ["analyze", "my runs/a", "--overrides", '{"width": 8}', "--batch_sizes", "[1,64]", "--rows=a,b"]
    monkeypatch.setattr(sys, "argv", ["/somewhere/drnn/__main__.py", *arguments])
    assert shlex.split(environment("cpu")["command"]) == ["drnn", *arguments]
    monkeypatch.setattr(sys, "argv", ["drnn", "train", "digits", "--lr", "0.1"])
    assert environment("cpu")["command"] == "drnn train digits --lr 0.1"


@pytest.fixture
def gpus(monkeypatch):
    """Two GPUs, and which of them is the current one."""
    current = [0]

    def name(device):
        index = torch.device(device).index
        return f"GPU {current[0] if index is None else index}"

    for key, double in {
        "is_available": lambda: True, "get_device_name": name,
        "set_device": lambda device: current.__setitem__(0, torch.device(device).index),
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, key, double)
    return current


def test_the_gpu_that_was_used_is_named(gpus):
    gpus[0] = 1
    assert environment("cuda")["gpu"] == "GPU 1"
    assert environment("cuda:0")["gpu"] == "GPU 0"
    assert environment(torch.device("cuda:1"))["gpu"] == "GPU 1"
    assert environment("cpu")["gpu"] is None


def test_a_run_on_the_cpu_names_no_gpu(gpus, tmp_path):
    with ExitStack() as held:
        open_run(tmp_path / "here", find_recipe("digits"), held)
        open_run(tmp_path / "there", find_recipe("digits"), held, device="cuda:1")
    assert [run_environment(tmp_path / name)["gpu"] for name in ("here", "there")] == [None, "GPU 1"]


def test_training_makes_its_gpu_the_current_one(gpus, monkeypatch):
    monkeypatch.setattr(distributed, "choose_device", torch.device)
    with distributed.workers_of("cuda:1") as workers:
        assert (workers.device, environment("cuda")["gpu"]) == (torch.device("cuda:1"), "GPU 1")
    with distributed.workers_of("cpu"):
        assert gpus == [1]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes are not pinned on this system")
def test_cores_are_those_that_the_process_may_use():
    code = "from drnn.cli.bench import export_parser; from drnn.provenance import environment\n"
    code += "print(environment('cpu')['cores'], export_parser().parse_args([]).threads)"
    pinned = f"import os; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})\n{code}"
    run = subprocess.run([sys.executable, "-c", pinned], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["1", "1"]
