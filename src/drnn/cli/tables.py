"""``drnn tables``."""

import json

from jsonargparse import ArgumentParser

from drnn.tables import all_tables, markdown


def run(argv: list[str]) -> None:
    """Print Tables 1-3."""
    parser = ArgumentParser(
        prog="drnn tables",
        description="Print Tables 1-3: the paper's cells, ours, and the difference. Parameters: live ones, and with "
        "what the authors' code carried along unused. G: multiply-adds in 1e9, in the paper's counting and in plain "
        "counting of convolutions and fully connected layers, gates included.",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    options = parser.parse_args(argv)
    print(json.dumps(all_tables(), indent=1) if options.json else markdown(), end="\n" if options.json else "")
