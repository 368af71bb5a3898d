"""Several processes that train one network together, as ``torchrun`` starts them; or one alone."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from drnn.core import RecursiveBlock
from drnn.data import ALONE, Share

T = TypeVar("T")
NAMES = ("forward_sync_buffers", "broadcast_buffers")  # of torch 2.13 and later, and of torch before
KEEP_BUFFERS: dict[str, Any] = {
    next(name for name in NAMES if name in signature(DistributedDataParallel).parameters): False
}


@dataclass(frozen=True)
class Workers:
    """This process among those that share the work, and the device it computes on."""

    device: torch.device
    share: Share = ALONE

    @property
    def several(self) -> bool:
        """More than one process."""
        return self.share.processes > 1

    @property
    def first(self) -> bool:
        """The one that writes files and speaks to the user."""
        return self.share.rank == 0

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network with its gradients averaged over the processes.

        Batch norms take their own process's statistics; a loop that nobody executes still gives its parameters a
        gradient, so none needs to be looked for.
        """
        return DistributedDataParallel(network, **KEEP_BUFFERS) if self.several else network

    def no_sync(self, network: nn.Module) -> AbstractContextManager:
        """A backward pass whose gradients stay on this process until a later one."""
        return network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()

    def wait(self) -> None:
        """Until all processes are here."""
        if self.several:
            dist.barrier()

    def decide(self, choose: Callable[[], T]) -> T:
        """What the first process's ``choose()`` returns, on every process; what it raises, too."""
        if not self.several:
            return choose()
        outcome: list = [None, None]
        if self.first:
            try:
                outcome[0] = choose()
            except Exception as error:
                outcome[1] = error
        dist.broadcast_object_list(outcome, 0, device=self.device)
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]

    def in_turn(self, make: Callable[[], T]) -> T:
        """``make()`` on every process, on the first before the others: they find what it fetched."""
        made: list[T] = []
        self.decide(lambda: made.append(make()))
        return made[0] if made else make()

    def agree(self, model: nn.Module) -> None:
        """Give every process the first one's buffers (running statistics), as evaluation and files need them."""
        if self.several:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)

    def largest(self, *numbers: int) -> tuple[int, ...]:
        """Each of the numbers as it is largest among the processes, which wait for each other here."""
        if not self.several:
            return numbers
        held = torch.tensor(numbers)
        dist.all_reduce(held, dist.ReduceOp.MAX)
        return tuple(held.tolist())

    def total(self, values: Tensor) -> Tensor:
        """The sum of ``values`` over the processes."""
        if self.several:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def gather(self, rows: Tensor) -> Tensor:
        """All processes' ``rows (N_r, ...)``, interleaved: process r holds rows r, r + P, r + 2 P, ... of the whole."""
        if not self.several:
            return rows
        counts = [torch.zeros(1, dtype=torch.long, device=rows.device) for _ in range(self.share.processes)]
        dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
        longest = max(int(count) for count in counts)
        numbers = rows.to(torch.uint8) if rows.dtype == torch.bool else rows
        padded = torch.cat([numbers, numbers.new_zeros(longest - len(rows), *rows.shape[1:])])
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded.contiguous())
        whole = rows.new_empty(sum(int(count) for count in counts), *rows.shape[1:])
        for rank, (part, count) in enumerate(zip(parts, counts, strict=True)):
            whole[rank :: self.share.processes] = part[: int(count)].to(rows.dtype)
        return whole


def over_all(workers: Workers, executed: Tensor, arrived: Tensor) -> tuple[Tensor, Tensor]:
    """Counts ``(T,)`` of images over all processes; the gradient is that of this process's share of them.

    Averaging gradients over the processes then gives exactly the gradient of one process with the whole batch,
    although the rate loss is not a mean over images.
    """
    if not workers.several:
        return executed, arrived
    both = workers.total(torch.stack([executed.detach(), arrived.to(executed.dtype)]))
    return both[0] + (executed - executed.detach()) * workers.share.processes, both[1]


def synchronise_norms(model: nn.Module) -> None:
    """Replace each ordinary norm outside recursive blocks, in place; weights and statistics are kept.

    Raises:
        ValueError: the network is not on a GPU, which torch's SyncBatchNorm needs.
    """
    device = next(model.parameters()).device
    if device.type != "cuda":
        raise ValueError("sync_norms received on the CPU; torch's SyncBatchNorm needs GPUs, so leave it out here")
    inside = {part for block in model.modules() if isinstance(block, RecursiveBlock) for part in block.modules()}
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d) and child not in inside:
                norm = nn.SyncBatchNorm(child.num_features, child.eps, child.momentum).to(device)
                norm.load_state_dict(child.state_dict())
                setattr(parent, name, norm)


def choose_device(name: str) -> torch.device:
    """A device by name; "auto" takes a GPU where there is one, and each of several processes its own.

    Raises:
        ValueError: a device this machine does not have.
    """
    local = os.environ.get("LOCAL_RANK")
    if name in ("auto", "cuda") and torch.cuda.is_available():
        name = f"cuda:{local}" if local is not None else "cuda"
    if name == "auto":
        return torch.device("cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device {name!r} is not usable here ({str(error).splitlines()[0]}); try auto or cpu"
        ) from error


@contextmanager
def workers_of(device_name: str) -> Iterator[Workers]:
    """The processes ``torchrun`` started, joined into a group until the context ends; or this one alone.

    A restart gets keys of its own in torchrun's store: what a killed process left there made later attempts hang.
    """
    device = choose_device(device_name)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Workers(device)
        return
    store, rank, processes = next(rendezvous("env://"))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    store = dist.PrefixStore(f"attempt-{attempt}", store)  # pyright: ignore[reportPrivateImportUsage]
    import_module("torch._dynamo")  # optimisers do it later: processes with gloo's threads running abort at their end
    dist.init_process_group(backend, store=store, rank=rank, world_size=processes)
    try:
        yield Workers(device, Share(rank, processes))
    finally:
        dist.destroy_process_group()


def restarted() -> bool:
    """This is torchrun's second attempt or a later one: what a first one wrote is to be kept."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
