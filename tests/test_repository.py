"""The repository keeps its promises."""

import re
import subprocess
import tomllib
from pathlib import Path

import generated_blocks
import pytest

from drnn.cli.main import VERBS

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


def test_the_readmes_verbs_exist():
    rows = re.findall(r"^\| `drnn (.*?)` \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    named = {re.match(r"\w+", part)[0] for row in rows for part in row.replace("`", "").split(", ")}  # type: ignore[index]
    assert named == VERBS.keys()


def anchors(markdown):
    """Of its headings, as they are linked to."""
    headings = re.findall(r"^#+ (.*)$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_between_documents_lead_somewhere():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    texts = [(page, re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)) for page in pages]
    links = [(page, link) for page, text in texts for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    assert len(links) > 20
    for page, link in links:
        if not link.startswith("http"):
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            assert target.exists(), f"{page.name}: {link}"
            assert not anchor or anchor in anchors(target.read_text()), f"{page.name}: {link}"


def test_the_index_of_the_log_names_its_entries():
    text = (ROOT / "docs" / "log.md").read_text()
    index, headings = text[: text.index("\n## ")], re.findall(r"^## (.*)$", text, re.MULTILINE)
    named = re.findall(r'"(.*?)"', re.sub(r"\s+", " ", index))
    assert len(named) > 15
    assert [name for name in named if not any(name in heading for heading in headings)] == []


def test_the_readmes_table_1_repeats_that_of_the_results():
    whole = [row.split(" | ") for row in generated_blocks.MAKERS["table1"]().splitlines()]
    errors = {(cells[0].strip("| "), cells[2]) for cells in whole if len(cells) == 13}
    brief = [row.strip("| ").split(" | ") for row in generated_blocks.MAKERS["table1_short"]().splitlines()[2:]]
    schedules = list(dict.fromkeys(row[0] for row in brief))
    assert schedules == ["paper, 350 epochs", "modern, 200 epochs", "short, 20 epochs"]
    assert all((network, error) in errors for _, network, _, error, *_ in brief)
    first = [cells[0] for cells in whole if cells[0].startswith("**")]
    assert [name.split("**")[1] for name in first] == ["paper", "modern", "short"]


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
