"""Blocks that no image enters any more: said while a run can still be changed."""

from collections.abc import Sequence

from torch import nn

from drnn.models.classifier import GATED, Classifier


def closed_blocks(model: nn.Module, rates: Sequence[float | None]) -> list[str]:
    """Names of the blocks whose first loop none of the images that arrived has executed.

    Args:
        model: the network.
        rates: executed over arrived at each of its T loop slots, None where no image arrived.
    """
    blocks = [(name, block.num_loops) for name, block in model.named_modules() if isinstance(block, GATED)]
    first, closed = 0, []
    for name, num_loops in blocks:
        if rates[first] == 0:
            closed.append(name)
        first += num_loops
    return closed


class ClosedBlocks:
    """Names each closed block once in a run.

    Args:
        model: the network; nothing is said where its target rate is 0.
        clip_norm: the limit on gradients that is set already, 0 for none.
    """

    def __init__(self, model: Classifier, clip_norm: float = 0.0):
        self.model = model
        limited = 0 < clip_norm <= 1
        self.advice = "A lower --lr may help" if limited else "A limit on gradients helps as a rule: --clip_norm 1"
        self.told: set[str] = set()

    def warning(self, epoch: int, rates: Sequence[float | None]) -> str | None:
        """A sentence on the blocks that closed in this 1-based epoch, if there are any."""
        if self.model.target_rate == 0:
            return None
        new = [name for name in closed_blocks(self.model, rates) if name not in self.told]
        self.told.update(new)
        if not new:
            return None
        which = f"{new[0]}, whose gate is closed" if len(new) == 1 else f"{', '.join(new)}: each one's gate is closed"
        return (
            f"epoch {epoch}: no image entered {which}. A block without images does not learn, and its gate may never "
            f"open again (docs/training.md, gates that close for good). {self.advice}"
        )
