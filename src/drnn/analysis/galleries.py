"""Figure 9: which images of a class are the easiest and the hardest."""

import numpy as np

from drnn.analysis.answers import Answers


def galleries(answers: Answers, each: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of the easiest and of the hardest images of each true class, ``(K, each)`` int64, -1 where there are
    fewer.

    Fewest loops is easiest, most loops hardest; among equals the more confident answer is the easier.

    Raises:
        ValueError: ``each`` below 1.
    """
    if each < 1:
        raise ValueError(f"{each} images a class received; show 1 or more")
    easiest = np.full((len(answers.classes), each), -1)
    hardest = easiest.copy()
    for label in range(len(answers.classes)):
        rows = np.flatnonzero(answers.labels == label)
        order = rows[np.lexsort((-answers.confidence[rows], answers.loops[rows]))]
        count = min(each, len(order))
        easiest[label, :count] = order[:count]
        hardest[label, :count] = order[::-1][:count]
    return easiest, hardest
