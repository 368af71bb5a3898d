"""``drnn predict RUN images/...``."""

import csv
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, fields, replace
from textwrap import indent
from typing import Literal

from jsonargparse import ArgumentParser

from drnn.costs import count_costs
from drnn.inference import optimize
from drnn.opening import open_network
from drnn.prediction.images import find_images
from drnn.prediction.predict import Prediction, predict_files
from drnn.training.distributed import choose_device


def run(argv: list[str]) -> int:
    """Classify image files; 1 where one of them could not be read."""
    parser = ArgumentParser(
        prog="drnn predict",
        description="Classify image files with a run's network: class, confidence, loops and multiply-adds of each. A "
        "file that cannot be read is named, the others are classified all the same, and the exit code is 1.",
    )
    parser.add_argument("run", type=str, help="a finished run, or a folder of weights")
    parser.add_argument("images", type=str, nargs="+", help="image files, and folders of them")
    parser.add_argument("--format", type=Literal["text", "csv", "json"], default="text", help="of what is printed")
    parser.add_argument("--budget", action="store_true", help="with the thresholds of budget.json: see drnn calibrate")
    parser.add_argument("--batch_size", type=int, default=32, help="images at a time")
    parser.add_argument("--data_root", type=str, default=None, help="where the data set is now, if it has moved")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    options = parser.parse_args(argv)
    if options.batch_size < 1:
        raise ValueError(f"--batch_size {options.batch_size} received; it is 1 or more")
    if "" in (options.run, *options.images):
        raise ValueError("an empty name received, as of a variable that is not set; '.' is this folder")
    device = choose_device(options.device)
    model, preprocessing, classes, _ = open_network(options.run, options.data_root, options.budget, only_trained=True)
    costs = count_costs(model, preprocessing.size)
    model = optimize(model.to(device))  # the plain one is not kept
    answers = predict_files(model, find_images(options.images), classes, preprocessing, options.batch_size, costs)
    return WRITERS[options.format](map(_printable, answers))


def _text(answers: Iterable[Prediction]) -> int:
    failed = 0
    for answer in answers:
        if answer.problem is None:
            costs = f"{answer.loops} loops, {answer.macs:,} MACs"
            print(f"{_one_line(answer.file)}: {answer.label}, {answer.confidence:.1%}, {costs}")
        failed += _complain(answer)
    return int(failed > 0)


def _csv(answers: Iterable[Prediction]) -> int:
    failed, writer = 0, csv.DictWriter(sys.stdout, [field.name for field in fields(Prediction)], lineterminator="\n")
    writer.writeheader()
    for answer in answers:
        writer.writerow(asdict(answer))
        failed += _complain(answer)
    return int(failed > 0)


def _json(answers: Iterable[Prediction]) -> int:
    failed, before = 0, "["
    try:
        for answer in answers:
            print(before + "\n" + indent(json.dumps(asdict(answer), indent=1), " "), end="")
            failed, before = failed + _complain(answer), ","
    finally:  # whatever ends it, what was answered is a whole array
        print("[]" if before == "[" else "\n]")
    return int(failed > 0)


def _printable(answer: Prediction) -> Prediction:
    """With every character that standard output cannot show, such as bytes of a file's name, written as an escape."""
    file = answer.file.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    texts = {"file": file, "label": answer.label, "problem": answer.problem}
    return replace(answer, **{name: text and _encodable(text) for name, text in texts.items()})


def _one_line(name: str) -> str:
    """A file's name may hold a line break, and what else moves the cursor."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in name)


def _encodable(text: str) -> str:
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _complain(answer: Prediction) -> int:
    if answer.problem is None:
        return 0
    print(f"drnn predict: {_one_line(answer.file)} skipped: {answer.problem}", file=sys.stderr)
    return 1


WRITERS = {"text": _text, "csv": _csv, "json": _json}
