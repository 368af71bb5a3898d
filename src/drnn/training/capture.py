"""The training step as one CUDA graph: the host starts it and waits for nothing."""

import torch
from torch import Tensor

from drnn.models import Classifier
from drnn.models.stochastic_depth import StochasticBlock
from drnn.training.step import Step, StepResult

WARMUP_STEPS = 3


def can_capture(model: Classifier) -> bool:
    """On a GPU, unless the host decides in mid-step, as stochastic depth does."""
    on_gpu = next(model.parameters()).is_cuda
    return on_gpu and not any(isinstance(module, StochasticBlock) for module in model.modules())


class CapturedStep:
    """A `Step` recorded once and replayed, for batches of one shape; its network has to be in the dense form.

    Recording warms up with real updates, which are undone: weights, statistics and momentum are put back in place.

    Args:
        step: what to record.
        images: a batch like all later ones, uint8 ``(N, C, H, W)``, on the GPU.
        labels: ``(N,)``.
    """

    def __init__(self, step: Step, images: Tensor, labels: Tensor):
        self.images, self.labels = images.clone(), labels.clone()
        self.rate_weight = torch.zeros((), device=images.device)
        kept = {name: value.clone() for name, value in step.model.state_dict().items()}
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARMUP_STEPS):
                step(self.images, self.labels, self.rate_weight)
        torch.cuda.current_stream().wait_stream(side)
        self._put_back(step, kept)
        self.graph = torch.cuda.CUDAGraph()
        step.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(self.graph):
            self.result = step(self.images, self.labels, self.rate_weight)

    @staticmethod
    def _put_back(step: Step, kept: dict[str, Tensor]) -> None:
        """As before the warm-up; a momentum of zero is what the first update starts from."""
        with torch.no_grad():
            for name, value in step.model.state_dict().items():
                value.copy_(kept[name])
            for state in step.optimizer.state.values():
                for value in state.values():
                    if isinstance(value, Tensor):
                        value.zero_()

    def __call__(self, images: Tensor, labels: Tensor, rate_weight: Tensor | float) -> StepResult:
        """One update; the result is overwritten by the next."""
        self.images.copy_(images)
        self.labels.copy_(labels)
        self.rate_weight.fill_(rate_weight)
        self.graph.replay()
        return self.result
