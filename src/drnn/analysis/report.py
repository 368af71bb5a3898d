"""The report: one HTML file that opens from disk, with every image inside and no script."""

from base64 import b64encode
from html import escape
from pathlib import Path

from drnn.analysis.figures import Missing, Picture
from drnn.storage import write_text

REPORT, FIGURES = "report.html", "figures"
STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 66rem; padding: 1rem; color: #111; background: #fff; }
body { font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.2; }
h2 { font-size: 1.15rem; margin: 0 0 .25rem; }
main { display: grid; gap: 2rem; align-items: start; }
main { grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); }
section { min-width: 0; }
img { width: 100%; height: auto; }
p, td { margin: .25rem 0 .5rem; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .2rem .6rem; text-align: left; vertical-align: top; }
tr { border-bottom: 1px solid #ccc; }
nav a { display: inline-block; margin-right: .8rem; padding: .2rem 0; }
"""


def report(title: str, facts: list[tuple[str, str]], pictures: list[Picture | Missing]) -> str:
    """The whole report as HTML.

    Args:
        title: its heading.
        facts: rows of the table at its head.
        pictures: in order; what is missing is named with its reason.
    """
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>\n" for name, value in facts)
    links = " ".join(f'<a href="#{picture.name}">{escape(picture.title)}</a>' for picture in pictures)
    sections = "\n".join(_section(picture) for picture in pictures)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<div class="wide"><table>
{rows}</table></div>
<nav><p>{links}</p></nav>
<main>
{sections}
</main>
</body>
</html>
"""


def _section(picture: Picture | Missing) -> str:
    head = f'<section id="{picture.name}">\n<h2>{escape(picture.title)}</h2>\n'
    if isinstance(picture, Missing):
        return f"{head}<p>Not drawn: {escape(picture.reason)}.</p>\n</section>"
    data = b64encode(picture.png).decode("ascii")
    image = f'<img src="data:image/png;base64,{data}" alt="{escape(picture.title)}: {escape(picture.says)}">'
    return f"{head}<p>{escape(picture.says)}</p>\n{image}\n</section>"


def run_facts(facts: dict) -> list[tuple[str, str]]:
    """What stands at the head of a run's report."""
    rows = [
        ("run", f"{facts['run']} ({facts['model']}, weights {facts['weights']})"),
        ("data", f"{facts['dataset']}, {facts['images']:,} {facts.get('tested_on', 'test images')}"),
        ("accuracy", f"{facts['accuracy']:.2%}"),
        ("trained", _surroundings(facts["trained"])),
        ("analysed", _surroundings(facts["analysed"])),
    ]
    for pair in facts.get("agreement", []):
        name = f"agreement of loops, {pair['first']} and {pair['second']}"
        value = "one of them gives every image the same loops"
        if pair["correlation"] is not None:
            value = f"rank correlation {pair['correlation']:.2f} ({pair['low']:.2f} to {pair['high']:.2f})"
        rows.append((name, value))
    if "agreement" in facts["left_out"]:
        rows.append(("agreement of loops between seeds", f"not measured: {facts['left_out']['agreement']}"))
    return rows


def study_rows(facts: dict) -> list[tuple[str, str]]:
    """What stands at the head of a gradient study's report."""
    recipe = facts["recipe"]
    changes = ", ".join(f"{key} {value}" for key, value in facts["overrides"].items()) or "none"
    rows = [
        ("network", f"{recipe['model']}, without gates; fields changed: {changes}"),
        ("data", f"{facts['dataset']}, {facts['train_images']:,} training and {facts['test_images']:,} test images"),
        ("seed, batch, lr", f"{recipe['seed']}, {recipe['batch_size']}, {recipe['lr']:g}"),
        ("measured", _surroundings(facts["environment"])),
    ]
    for variant, found in facts["variants"].items():
        if found["stopped"] is not None:
            rows.append((variant, f"its loss was no longer finite at step {found['stopped']}"))
    return rows


def _surroundings(environment: dict) -> str:
    keys = ("date", "commit", "processor", "torch")
    return ", ".join(f"{key} {environment.get(key) or 'unknown'}" for key in keys)


def write_report(folder: Path, title: str, facts: list[tuple[str, str]], pictures: list[Picture | Missing]) -> Path:
    """Write ``report.html`` and, in ``figures/``, every picture as PNG and SVG; returns the report's path."""
    for picture in pictures:
        if isinstance(picture, Picture):
            picture.save(folder / FIGURES)
    write_text(folder / REPORT, report(title, facts, pictures))
    return folder / REPORT
