"""Train as one of several processes that a signal ends: ``torchrun stopped.py FOLDER RANK STEP``, or none, RANK -1."""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from drnn.training import find_recipe, train
from drnn.training.interrupt import Interrupted
from drnn.training.session import Session

RECIPE = replace(
    find_recipe("digits"), epochs=2, held_out=500, train_images=320, batch_size=32, warmup_epochs=0, threads=1, lr=0.01
)


def main(folder: Path, rank: int, step: int) -> None:
    update = Session.update

    def update_and_signal(session: Session, *batch) -> None:
        update(session, *batch)
        if session.workers.share.rank == rank and session.steps + 1 == step:
            os.kill(os.getpid(), signal.SIGTERM)

    Session.update = update_and_signal
    try:
        train(replace(RECIPE, device="cpu"), folder, progress=False)
    except Interrupted as ended:
        words = folder.with_name(f"{folder.name}-rank-{os.environ['RANK']}")  # a common output mixes lines
        words.write_text(f"{ended.exit_code} {ended}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
