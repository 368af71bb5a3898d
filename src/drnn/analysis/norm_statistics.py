"""Figure 7: running statistics of the maps that execute a loop and of those that leave there."""

from dataclasses import dataclass

import numpy as np
from torch import nn

from drnn.core import RecursiveBlock
from drnn.core.norms import DecisionBatchNorm2d, ILVBN2d


@dataclass(frozen=True, eq=False)
class NormStatistics:
    """One norm of one recursive block: ``(L, C)`` each, for L loops and C channels.

    Attributes:
        block: which recursive block of the network, from 0.
        norm: its name in the body, such as ``bn2``.
        executed_mean: running mean of the executing group, which evaluation uses.
        executed_var: running variance of it.
        skipped_mean: running mean of the leaving group; NaN in a loop where nobody ever left.
        skipped_var: running variance of it, likewise.
    """

    block: int
    norm: str
    executed_mean: np.ndarray
    executed_var: np.ndarray
    skipped_mean: np.ndarray
    skipped_var: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """What an npz file keeps of it."""
        names = ("executed_mean", "executed_var", "skipped_mean", "skipped_var")
        return {f"block{self.block}.{self.norm}.{name}": getattr(self, name) for name in names}


def norm_statistics(model: nn.Module) -> list[NormStatistics]:
    """Running statistics of every I-LVBN norm of every recursive block, in order; empty where a network has none."""
    blocks = [module for module in model.modules() if isinstance(module, RecursiveBlock)]
    found = []
    for number, block in enumerate(blocks):
        for name, norm in block.body.named_modules():
            if isinstance(norm, ILVBN2d):
                loops = [loop for loop in norm.loops if isinstance(loop, DecisionBatchNorm2d)]
                buffers = ("running_mean", "running_var", "skipped_mean", "skipped_var")
                arrays = [np.stack([getattr(loop, key).cpu().numpy().copy() for loop in loops]) for key in buffers]
                never = (arrays[2] == 0).all(1) & (arrays[3] == 1).all(1)  # as they started
                for skipped in arrays[2:]:
                    skipped[never] = np.nan
                found.append(NormStatistics(number, name, *arrays))
    return found


def norms_of(arrays: dict[str, np.ndarray]) -> list[NormStatistics]:
    """What the arrays of several norms, as `NormStatistics.arrays` names them, were made from."""
    found: dict[tuple[int, str], dict[str, np.ndarray]] = {}
    for key, values in arrays.items():
        block, name = key.removeprefix("block").split(".", 1)
        norm, field = name.rsplit(".", 1)
        found.setdefault((int(block), norm), {})[field] = values
    return [NormStatistics(*place, **fields) for place, fields in found.items()]


def early_and_late_norms(statistics: list[NormStatistics]) -> list[NormStatistics]:
    """The last norm of the first and of the last recursive block, as Figure 7 picks an early and a late one.

    One where there is a single recursive block; none of none.
    """
    last = {entry.block: entry for entry in statistics}
    return [last[block] for block in dict.fromkeys((min(last), max(last)))] if last else []
