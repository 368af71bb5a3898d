"""A number's surroundings name the code that made it."""

import shutil
import subprocess
import sys
from pathlib import Path

import drnn

SAYS = "from drnn.provenance import environment; print(environment()['commit'], environment()['command'])"


def git(folder, *arguments):
    name = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(
        ["git", *name, *arguments], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def said(folder):
    run = subprocess.run([sys.executable, "-c", SAYS], cwd=folder / "src", capture_output=True, text=True, check=True)
    return run.stdout.strip()


def test_results_do_not_make_the_code_another_one(tmp_path):
    package = Path(drnn.__file__).parent
    shutil.copytree(package, tmp_path / "src/drnn", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / ".gitignore").write_text("__pycache__/\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "all")
    head = git(tmp_path, "rev-parse", "--short=12", "HEAD")
    (tmp_path / "result.json").write_text("{}")
    assert said(tmp_path) == f"{head} -c"
    code = tmp_path / "src/drnn/provenance.py"
    code.write_text(code.read_text() + "# changed\n")
    assert said(tmp_path) == f"{head}-dirty -c"
