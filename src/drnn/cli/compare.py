"""``drnn compare RUN RUN``."""

from pathlib import Path

from jsonargparse import ArgumentParser

from drnn.compare import compare_runs, markdown
from drnn.storage import refuse_place, write_json


def run(argv: list[str]) -> None:
    """Measure two runs side by side."""
    parser = ArgumentParser(
        prog="drnn compare",
        description="Two runs on the same test images: accuracy, parameters, multiply-adds and loops per image, and "
        "milliseconds per image, measured in pairs in this process (medians; the ratio is the median of the pairs').",
    )
    parser.add_argument("first", type=str, help="the folder of a run, usually the recursive one")
    parser.add_argument("second", type=str, help="the folder of the run to compare with")
    parser.add_argument("--data_root", type=str, default=None, help="where the data set is now, if it has moved")
    parser.add_argument("--batch_sizes", type=list[int] | None, default=None, help="images at a time: [1,64]")
    parser.add_argument("--rounds", type=int, default=60, help="paired measurements a batch size")
    parser.add_argument("--json", type=str, default=None, help="also write every number to this file")
    options = parser.parse_args(argv)
    if options.json:
        refuse_place(Path(options.json))
    result = compare_runs(
        Path(options.first), Path(options.second), options.batch_sizes, options.rounds, options.data_root
    )
    if options.json:
        write_json(Path(options.json), result)
    print(markdown(result), end="")
