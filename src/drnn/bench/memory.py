"""How many bytes a network keeps, and a run holds at once: of tensors, counted rather than measured."""

import weakref
from collections.abc import Callable

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from drnn.inference.folded_conv import FoldedConv2d


class _Storages(TorchDispatchMode):
    """Adds up the storages that operations return, as long as anything holds them."""

    def __init__(self):
        super().__init__()
        self.now, self.most = 0, 0
        self.alive: dict[int, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        given = {part.untyped_storage()._cdata for part in tree_leaves((args, kwargs)) if _counts(part)}
        for part in tree_leaves(result):
            if _counts(part):
                self.note(part.untyped_storage(), given)
        return result

    def note(self, storage: torch.UntypedStorage, given: set[int]) -> None:
        """Count a storage once, unless it came in from outside."""
        key = storage._cdata
        if key in self.alive or key in given:
            return
        self.alive[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self.forget, key)

    def forget(self, key: int) -> None:
        """Its last holder is gone."""
        self.now -= self.alive.pop(key, 0)


def _counts(part: object) -> bool:
    return isinstance(part, torch.Tensor) and part.layout == torch.strided


def peak_bytes(work: Callable[[], object], device: str = "cpu") -> int:
    """Most bytes of new tensors at any moment of ``work``; weights and what was there before do not count.

    Args:
        work: what is run, once.
        device: where its tensors are. On a GPU it is torch's allocator there that is asked, to which the memory of CUDA
            graphs, kept from call to call, is not new. Elsewhere the workspace inside a kernel is not seen.
    """
    if torch.device(device).type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with _Storages() as storages:
        work()
    return storages.most


def weight_bytes(model: nn.Module) -> int:
    """Bytes of all parameters and buffers, and of what an optimised network has made of them for its kernels so far.

    Memory that several share counts once.
    """
    tensors = (*model.parameters(), *model.buffers())
    storages = {storage.data_ptr(): storage.nbytes() for storage in (part.untyped_storage() for part in tensors)}
    made = sum(part.bytes_made() for part in model.modules() if isinstance(part, FoldedConv2d))
    return sum(storages.values()) + made
