"""``drnn curve RUN [STATIC_RUN ...]``."""

from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser

from drnn.budgets.curve import as_csv, curve
from drnn.budgets.curve_picture import draw_curve
from drnn.drawing import refuse_picture
from drnn.storage import refuse_place, write_json, write_text


def run(argv: list[str]) -> None:
    """Measure the curve, and write it."""
    parser = ArgumentParser(
        prog="drnn curve",
        description="Accuracy against multiply-adds and against measured time while a run's gates are turned from all "
        "closed to all open; static runs are points. Written as CSV and JSON, and as a picture with matplotlib.",
    )
    parser.add_argument("run", type=str, help="the folder of a finished run with gates")
    parser.add_argument("statics", type=str, nargs="*", help="folders of runs to show as points")
    parser.add_argument("--points", type=int, default=11, help="positions of the dial")
    parser.add_argument(
        "--scope", type=Literal["global", "per_gate"], default="global", help="thresholds: one, or many"
    )
    parser.add_argument("--batch_size", type=int, default=1, help="images at a time, for the time")
    parser.add_argument("--out", type=str, default=None, help="files' name without ending; RUN/curve by default")
    parser.add_argument("--picture", type=str, default=None, help="also draw it: a file ending in .png, .svg or .pdf")
    parser.add_argument("--data_root", type=str, default=None, help="where the data set is now, if it has moved")
    parser.add_argument("--device", type=str, default="cpu", help="where all is run and timed: cpu, cuda, auto, ...")
    options = parser.parse_args(argv)
    folder = Path(options.run)
    stem = options.out or str(folder / "curve")
    as_json, as_table = Path(f"{stem}.json"), Path(f"{stem}.csv")
    for file in (as_json, as_table):
        refuse_place(file)
    if options.picture:
        refuse_picture(Path(options.picture))
    result = curve(
        folder, [Path(static) for static in options.statics], options.points, options.scope, options.batch_size,
        options.data_root, options.device,
    )  # fmt: skip
    write_json(as_json, result)
    write_text(as_table, as_csv(result))
    print(as_csv(result), end="")
    if options.picture:
        draw_curve(result, Path(options.picture))
