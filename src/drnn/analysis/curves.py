"""Figure 6: errors and losses against epochs, from run logs, with the places where a run came apart."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drnn.training.run_folder import METRICS, read_metrics

FIELDS = ("epoch", "train_error", "test_error", "train_loss", "test_loss")


@dataclass(frozen=True, eq=False)
class Curves:
    """One run's log: E epochs.

    Attributes:
        name: of the run.
        epoch: ``(E,)``, from 1; the others are ``(E,)`` too, NaN where a log does not say or a loss was not finite.
        train_error: of the training images as they were seen, augmented.
        test_error: of the test images, in evaluation.
        train_loss: mean; of a network with gates the cross entropy of their pass alone, where the log tells it.
        test_loss: mean.
        num_classes: K.
        stopped: True where training ended because a loss was not finite.
    """

    name: str
    epoch: np.ndarray
    train_error: np.ndarray
    test_error: np.ndarray
    train_loss: np.ndarray
    test_loss: np.ndarray
    num_classes: int
    stopped: bool = False

    @property
    def apart(self) -> np.ndarray:
        """Epochs whose evaluation is worse than guessing (loss above ln K, or not finite) while training is better.

        Where training is no better, those whose evaluation loss is above its loss by more than guessing costs.
        """
        guessing = math.log(self.num_classes)
        evaluation_bad = ~(self.test_loss <= guessing)
        far = ~(self.test_loss <= self.train_loss + guessing)
        return self.epoch[evaluation_bad & ((self.train_loss < guessing) | far)]

    @property
    def diverged(self) -> np.ndarray:
        """Epochs whose training is worse than guessing after it was better, and the last if training stopped."""
        guessing = math.log(self.num_classes)
        good = self.train_loss < guessing
        bad = ~good & (np.cumsum(good) > 0)
        if self.stopped and len(bad):
            bad[-1] = True
        return self.epoch[bad]

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """What an array file keeps of it, ``(E,)`` each."""
        return {name: getattr(self, name) for name in FIELDS}

    @property
    def marks(self) -> dict[str, list]:
        """The epochs that are marked, by kind."""
        return {"apart": self.apart.tolist(), "diverged": self.diverged.tolist()}


def curves_of_study(facts: dict) -> list[Curves]:
    """Those of the variants of a gradient study that were trained, from its facts."""
    return [
        curves_from_rows(variant, found["epochs"], facts["classes"], found["stopped"] is not None)
        for variant, found in facts["variants"].items()
        if found["epochs"]
    ]


def curves_from_rows(name: str, rows: list[dict], num_classes: int, stopped: bool = False) -> Curves:
    """Curves from one dictionary an epoch; a value that is missing or None is NaN."""
    rows = [{**row, "train_loss": row.get("train_cross_entropy", row.get("train_loss"))} for row in rows]
    columns = [[row.get(field) for row in rows] for field in FIELDS]
    arrays = [np.array([np.nan if v is None else v for v in column], np.float64) for column in columns]
    return Curves(name, *arrays, num_classes=num_classes, stopped=stopped)


def read_curves(folder: Path, num_classes: int) -> Curves:
    """The log of a run folder, finished or not; a last line that was cut off is left out.

    Raises:
        FileNotFoundError: no log there.
        ValueError: a damaged line before the last, or no line at all.
    """
    path = folder / METRICS
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {METRICS}; give the folder of a run, as drnn train writes it")
    rows = [row for row in read_metrics(folder) if "epoch" in row]
    if not rows:
        raise ValueError(f"{path} has no finished epoch; train longer")
    return curves_from_rows(folder.resolve().name, rows, num_classes)
