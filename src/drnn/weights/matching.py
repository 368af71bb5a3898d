"""Blocks whose hidden channels lie in the same order, as far as they can: what may then be averaged."""

from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from drnn.models.blocks import HiddenChannels

Block = dict[str, Tensor]  # the state of one block
MOST_ROUNDS = 20


def matched(blocks: Sequence[Block], hidden: Sequence[HiddenChannels]) -> list[Block]:
    """Put the hidden channels of each block into the order in which its weights are most like the others'.

    A block computes the same in any order of the channels that only its own layers know, so two trained ones have them
    in orders of their own. Each is matched to the sum of the others, by the inner product of weights, until none
    changes; the first stays.

    Args:
        blocks: states with the same names and shapes; they are not changed.
        hidden: which layers share which channels; those that a block lacks do not count.

    Returns:
        States of blocks that compute the same.

    Raises:
        ValueError: weights that are not finite.

    Source: Ainsworth, Hayase and Srinivasa, "Git re-basin", 2022, weight matching.
    """
    found = [channels for channels in hidden if _are_there(channels, blocks[0])]
    done = [dict(blocks[0])]
    for block in blocks[1:]:
        done.append(_matched_to(done, dict(block), found)[0])
    for _ in range(MOST_ROUNDS):
        changed = False
        for index in range(1, len(done)):
            done[index], moved = _matched_to(done[:index] + done[index + 1 :], done[index], found)
            changed = changed or moved
        if not changed:
            break
    return done


def _are_there(channels: HiddenChannels, block: Block) -> bool:
    return all(f"{layer}.weight" in block for layer in channels.written + channels.read)


def _matched_to(others: list[Block], block: Block, hidden: list[HiddenChannels]) -> tuple[Block, bool]:
    """The block in its best order beside ``others``, and whether that is another one."""
    moved = False
    for channels in hidden:
        wanted = torch.stack([_by_channel(other, channels) for other in others]).sum(0)
        likeness = wanted @ _by_channel(block, channels).T
        if not likeness.isfinite().all():
            raise ValueError(f"weights of {', '.join(channels.written + channels.read)} that are not finite received")
        order = torch.from_numpy(linear_sum_assignment(likeness.numpy(), maximize=True)[1])
        places = torch.arange(len(order))
        gain = likeness[places, order].sum() - likeness.trace()
        if gain > 1e-6 * likeness.abs().amax():
            block, moved = _reordered(block, channels, order), True
    return block, moved


def _by_channel(block: Block, channels: HiddenChannels) -> Tensor:
    """What convolutions have to say of each of C hidden channels, ``(C, numbers)``."""
    weights = [block[f"{layer}.weight"] for layer in channels.written]
    rows = [weight for weight in weights if weight.dim() > 1]
    rows += [block[f"{layer}.weight"].transpose(0, 1) for layer in channels.read]
    return torch.cat([row.flatten(1) for row in rows], 1).detach().cpu().float()


def _reordered(block: Block, channels: HiddenChannels, order: Tensor) -> Block:
    """The block with hidden channel ``order[i]`` in place i."""
    made = dict(block)
    for name, value in block.items():
        layer = name.rpartition(".")[0]
        if layer in channels.written and value.dim():
            made[name] = value[order.to(value.device)]
        elif layer in channels.read and name.endswith(".weight"):
            made[name] = value[:, order.to(value.device)]
    return made
