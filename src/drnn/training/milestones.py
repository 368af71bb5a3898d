"""Epochs at which a learning rate falls, within a run's length and in proportion to it."""

from collections.abc import Sequence


def in_proportion(milestones: Sequence[int], epochs: int, of: int) -> tuple[int, ...]:
    """Milestones of ``of`` epochs at the same shares of ``epochs``, rounded; they may fall together, or on an end.

    Example:
        >>> in_proportion((150, 250), 100, of=350)
        (43, 71)
    """
    return tuple(round(milestone * epochs / of) for milestone in milestones)


def fit_in(milestones: Sequence[int], epochs: int) -> bool:
    """Whether they rise one by one, and none lies on an end of a run of so many epochs.

    Example:
        >>> fit_in((43, 71), 100), fit_in((0, 1), 2)
        (True, False)
    """
    return list(milestones) == sorted({*milestones} - {0, epochs})


def refuse_unordered(milestones: Sequence[int]) -> None:
    """Two at one epoch would divide the learning rate by 100 there, and one before the first epoch from the start.

    Raises:
        ValueError: they do not rise one by one from 1 on.
    """
    if list(milestones) != sorted(set(milestones)) or min(milestones, default=1) < 1:
        raise ValueError(
            f"recipe field milestones = {list(milestones)} received; give epochs from 1 on, each once, in order"
        )


def refuse_late(milestones: Sequence[int], epochs: int, instead: str = "earlier ones") -> None:
    """Whether a run of so many epochs comes to all its milestones.

    Args:
        milestones: in epochs.
        epochs: of the run.
        instead: what to give, for the message.

    Raises:
        ValueError: one lies at the end or beyond it, and never lowers the learning rate.
    """
    if late := [milestone for milestone in milestones if milestone >= epochs]:
        raise ValueError(
            f"recipe field milestones = {list(milestones)} received for {epochs} epochs, which end before the learning "
            f"rate falls at {' and '.join(map(str, late))}; give {instead}, [] for none, or more epochs"
        )
