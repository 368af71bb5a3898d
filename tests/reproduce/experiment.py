"""Jobs on the digits, their results and tables; as a program it runs one of minutes: ``python experiment.py ROOT``."""

import json
import logging
import re
import sys
from pathlib import Path

from drnn.reproduce import Job, run_jobs
from drnn.training import find_recipe
from drnn.training.interrupt import Interrupted
from drnn.training.recipe_fields import recipe_from_dict

TINY = {"epochs": 1, "batch_size": 128, "train_images": 300, "threads": 1, "device": "cpu"}


def job(root: Path, name: str, **changes) -> Job:
    changes = {**TINY, **changes}
    recipe = recipe_from_dict(changes, find_recipe("digits"))
    return Job(
        "dr_resnet16", "short", recipe, "digits", changes, root / "runs" / name, root / "results" / f"{name}.json"
    )


def long_job(root: Path) -> Job:
    return job(root, "long", epochs=3000)


def change(file: Path, **values) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def cells(table: str, row: str) -> list[str]:
    (line,) = re.findall(rf"^\| {re.escape(row)} \|.*\|$", table, re.MULTILINE)
    return [cell.strip() for cell in line.strip("|").split("|")]


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    try:
        print([each.state for each in run_jobs([long_job(Path(sys.argv[1]))], 1)])
    except Interrupted as error:
        print(error)
        sys.exit(error.exit_code)
