"""What a network and its gates said about every test image: the arrays that everything else is made from."""

from dataclasses import dataclass

import numpy as np

from drnn.training import Evaluation


@dataclass(frozen=True, eq=False)
class Answers:
    """N images, K classes, T loop slots of B gated blocks.

    Attributes:
        labels: ``(N,)``.
        predicted: ``(N,)``, the most probable class.
        confidence: ``(N,)``, its softmax probability.
        executed: bool ``(N, T)``.
        arrived: bool ``(N, T)``.
        macs: ``(N,)``, multiply-adds spent.
        slots: ``(B,)``, loops of each block; they sum to T.
        classes: K names.
        target_rate: what the gates were trained to; None where nothing was.
        max_macs: every loop executed.
    """

    labels: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    executed: np.ndarray
    arrived: np.ndarray
    macs: np.ndarray
    slots: np.ndarray
    classes: tuple[str, ...]
    target_rate: float | None
    max_macs: int

    @property
    def loops(self) -> np.ndarray:
        """Loops each image executed, ``(N,)``."""
        return self.executed.sum(1)

    @property
    def wrong(self) -> np.ndarray:
        """Which images were misclassified, bool ``(N,)``."""
        return self.predicted != self.labels

    def arrays(self) -> dict[str, np.ndarray]:
        """What an npz file keeps of it."""
        names = ("labels", "predicted", "confidence", "executed", "arrived", "macs", "slots")
        return {name: getattr(self, name) for name in names} | {"loops": self.loops}


def answers_of(result: Evaluation, classes: tuple[str, ...], target_rate: float | None) -> Answers:
    """Plain arrays of an evaluation.

    Raises:
        ValueError: a network none of whose blocks loops or has a gate: it has nothing to say here. One whose gates were
            left open loops, and its ``target_rate`` is None.
    """
    if not result.costs.slots:
        raise ValueError(
            "this network has no loops and no gates, so there is nothing to analyse; give the run of a 'dr_*' network"
        )
    confidence, predicted = result.logits.softmax(1).max(1)
    return Answers(
        labels=result.labels.cpu().numpy(),
        predicted=predicted.cpu().numpy(),
        confidence=confidence.cpu().numpy(),
        executed=result.record.executed.cpu().numpy(),
        arrived=result.record.arrived.cpu().numpy(),
        macs=result.macs.cpu().numpy(),
        slots=np.array(result.costs.slots),
        classes=classes,
        target_rate=target_rate,
        max_macs=result.costs.max_macs,
    )
