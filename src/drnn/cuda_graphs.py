"""CUDA graphs: work recorded once, which the host then starts as one."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")
Replay = Callable[[], object]


def record(
    warm_up: Callable[[], object],
    work: Callable[[], Result],
    stream: torch.cuda.Stream,
    pool: Any = None,
) -> tuple[Result, Replay]:
    """Record ``work`` on ``stream``, after ``warm_up`` there, for libraries to choose their kernels and workspaces.

    Args:
        warm_up: does what ``work`` will do, as often as it takes, and undoes what must not last.
        work: fixed kernels on fixed memory.
        stream: on the GPU of the tensors that ``work`` reads; what was started before on that GPU is waited for.
        pool: of memory, by `torch.cuda.graph_pool_handle`, shared with other graphs that are never replayed at the same
            time; by default its own.

    Returns:
        What ``work`` gave, which every replay overwrites, and the replay. Other threads may use the GPU meanwhile.
    """
    graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream(stream.device)
    stream.wait_stream(current)
    with torch.cuda.device(stream.device), torch.cuda.stream(stream):
        warm_up()
    current.wait_stream(stream)
    with (
        torch.cuda.device(stream.device),
        torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"),
    ):
        result = work()
    return result, graph.replay
