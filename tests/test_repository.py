"""The repository keeps its promises."""

import re
import subprocess
import tomllib
from pathlib import Path

import generated_blocks
import pytest

ROOT = Path(__file__).parent.parent


def committed_text():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    for name in filter(None, listed):
        try:
            yield name, (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def test_the_readmes_commands_exist_and_ci_calls_the_second():
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    targets = re.findall(r"^make (\w+)", readme, re.MULTILINE)
    assert targets == ["demo", "test"]
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_the_readmes_python_runs():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    names: dict = {}
    exec(code, names)
    assert names["gates"].executed.shape == (2, 23)


def test_the_readme_names_what_can_be_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert rows == [extra for extra in project["optional-dependencies"] if extra != "dev"]


def test_blocks_of_readme_and_docs_equal_their_sources():
    assert generated_blocks.stale() == []


def test_a_stale_block_is_noticed():
    old = "<!-- begin generated: tables -->\nold\n<!-- end generated: tables -->"
    assert "dr_resnet53" in generated_blocks.renewed(old)


def test_no_committed_file_names_a_machine_or_a_registry():
    words = [f"/{place}/" for place in ("root", "home", "work")] + ["py" + "pi.org", "python" + "hosted", "/" + "tmp/"]
    allowed = {("LICENSE", word) for word in words}
    found = [(name, word) for name, text in committed_text() for word in words if word in text]
    assert set(found) - allowed == set()


@pytest.mark.parametrize("path", sorted((ROOT / "src").rglob("*.py")), ids=lambda path: path.stem)
def test_files_stay_short_enough_to_be_one_thing(path):
    assert len(path.read_text().splitlines()) <= 220
