"""Result files, and the line that says where numbers come from."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent


def read(path: str, command: str) -> dict:
    file = ROOT / path
    if not file.is_file():
        sys.exit(f"{path} is missing; make it with: {command}")
    return json.loads(file.read_text(encoding="utf-8"))


def source(path: str, environment: dict, seed: object) -> str:
    keys = ("commit", "date", "processor", "cores", "threads", "python", "torch")
    facts = ", ".join(f"{key} {environment[key]}" for key in keys)
    facts += f", {environment['gpu']}" if environment.get("gpu") else ""
    facts += f", freed memory {environment['freed_memory']}" if "freed_memory" in environment else ""
    return f"\nFrom `{path}`: `{environment['command']}`, seed {seed}, {facts}.\n"


def distinct(values: Iterable[object], between: str = ", ") -> str:
    """What there is, each once."""
    return between.join(dict.fromkeys(map(str, values)))


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    header = tuple(header)
    return "".join(f"| {' | '.join(map(str, cells))} |\n" for cells in (header, ["---"] * len(header), *rows))
