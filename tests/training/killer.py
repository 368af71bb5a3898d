"""Train in child processes that are killed at random moments: ``python killer.py FOLDER KILLS``.

Half of the kills come somewhere in the first tenths of a second, half soon after a checkpoint.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from drnn.training import Recipe, train
from drnn.training.recipe_fields import recipe_from_dict
from drnn.training.state import checkpoints
from drnn.training.trainer import load_data


def attempt(recipe: Recipe, folder: Path) -> int:
    """Start training in a child; returns its process number."""
    child = os.fork()
    if child:
        return child
    train(recipe, folder, progress=False, checkpoint_minutes=0)
    os._exit(0)


def main(folder: Path, kills: int) -> None:
    recipe = recipe_from_dict(RECIPE)
    load_data(recipe)  # every child inherits the imports that these need
    torch.optim.SGD([torch.zeros(1)])
    chance = random.Random(0)
    for kill in range(kills):
        child, before = attempt(recipe, folder), [path.name for path in checkpoints(folder)]
        if kill % 2:
            while [path.name for path in checkpoints(folder)] == before:
                time.sleep(0.001)
        time.sleep(chance.random() * (0.04 if kill % 2 else 0.4))
        if os.waitpid(child, os.WNOHANG)[0]:
            sys.exit(f"the run ended before kill {kill + 1} of {kills}: make it longer")
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    child = attempt(recipe, folder)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


RECIPE = {
    "name": "killed", "model": "dr_resnet_digits", "epochs": 4, "batch_size": 32, "held_out": 500, "threads": 1,
    "ema_decay": 0.9, "gate_noise": "training", "cutout": 2, "flip": True,
}  # fmt: skip

if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
