"""The training step as one CUDA graph: the host starts it and waits for nothing."""

import torch
from torch import Tensor

from drnn.cuda_graphs import record
from drnn.models import Classifier
from drnn.models.stochastic_depth import StochasticBlock
from drnn.training.step import Step, StepResult

WARMUP_STEPS = 3


def rehearse(step: Step, images: Tensor, labels: Tensor, rate_weight: Tensor | float) -> None:
    """Make updates and undo them: weights, statistics and momentum are put back in place, bit for bit.

    Whatever is made at a first call is then there, such as the optimiser's momentum; where it was not there before it
    is zero, from which the first update gives the same.
    """
    model = step.model
    kept = [(value, value.detach().clone()) for value in (*model.parameters(), *model.buffers())]
    moments = {
        parameter: {key: value.clone() for key, value in state.items() if isinstance(value, Tensor)}
        for parameter, state in step.optimizer.state.items()
    }
    for _ in range(WARMUP_STEPS):
        step(images, labels, rate_weight)
    with torch.no_grad():
        for value, before in kept:
            value.copy_(before)
        for parameter, state in step.optimizer.state.items():
            for key, value in state.items():
                if isinstance(value, Tensor):
                    before = moments.get(parameter, {}).get(key)
                    value.zero_() if before is None else value.copy_(before)


def can_capture(model: Classifier) -> bool:
    """On a GPU, unless the host decides in mid-step, as stochastic depth does."""
    on_gpu = next(model.parameters()).is_cuda
    return on_gpu and not any(isinstance(module, StochasticBlock) for module in model.modules())


class CapturedStep:
    """A `Step` recorded once and replayed, for batches of one shape; its network has to be in the dense form.

    Args:
        step: what to record.
        images: a batch like all later ones, uint8 ``(N, C, H, W)``, on the GPU.
        labels: ``(N,)``.
    """

    def __init__(self, step: Step, images: Tensor, labels: Tensor):
        self.images, self.labels = images.clone(), labels.clone()
        self.rate_weight = torch.zeros((), device=images.device)

        def warm_up() -> None:
            rehearse(step, self.images, self.labels, self.rate_weight)
            step.optimizer.zero_grad(set_to_none=True)  # for the gradients to lie in the graph's own memory

        self.result, self.replay = record(
            warm_up, lambda: step(self.images, self.labels, self.rate_weight), torch.cuda.Stream(images.device)
        )

    def __call__(self, images: Tensor, labels: Tensor, rate_weight: Tensor | float) -> StepResult:
        """One update; the result is overwritten by the next."""
        self.images.copy_(images)
        self.labels.copy_(labels)
        self.rate_weight.fill_(rate_weight)
        self.replay()
        return self.result
