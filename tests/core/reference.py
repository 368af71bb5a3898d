"""The slow obvious version: image by image, loop by loop, from the formulas. It shares no code with the core."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

MOMENTUM, EPS = 0.1, 1e-5


@dataclass
class SlowNorm:
    """One loop's I-LVBN, from the parameters of a `DecisionBatchNorm2d`."""

    weight: Tensor
    bias: Tensor
    running: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def copy_of(cls, norm) -> "SlowNorm":
        """Shares the parameters, copies the statistics."""
        running = {name: buffer.clone() for name, buffer in norm.named_buffers() if "num_batches" not in name}
        return cls(norm.weight, norm.bias, running)

    def normalise(self, image: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        """One image ``(C, H, W)``."""
        shape = (-1, 1, 1)
        centred = (image - mean.view(shape)) / (var.view(shape) + EPS).sqrt()
        return centred * self.weight.view(shape) + self.bias.view(shape)

    def group(self, images: list[Tensor], mean_name: str, var_name: str) -> tuple[Tensor, Tensor]:
        """The statistics a group is normalised by; moves its running ones."""
        values = torch.stack(images, 1).flatten(1) if images else torch.zeros(len(self.weight), 0)
        if values.shape[1] <= 1:
            return self.running["running_mean"], self.running["running_var"]
        mean, var = values.mean(1), values.var(1, correction=0)
        unbiased = values.var(1, correction=1).detach()
        for name, new in ((mean_name, mean.detach()), (var_name, unbiased)):
            self.running[name] = (1 - MOMENTUM) * self.running[name] + MOMENTUM * new
        return mean, var

    def train(self, images: dict[int, Tensor], executes: dict[int, bool]) -> dict[int, Tensor]:
        """Images that arrived, by number; each group by its own statistics."""
        before = dict(self.running)
        going = [images[i] for i in images if executes[i]]
        leaving = [images[i] for i in images if not executes[i]]
        new = self.group(going, "running_mean", "running_var")
        moved, self.running = self.running, before
        old = self.group(leaving, "skipped_mean", "skipped_var")
        for name in ("skipped_mean", "skipped_var"):
            moved[name] = self.running[name]
        self.running = moved
        return {i: self.normalise(images[i], *(new if executes[i] else old)) for i in images}

    def evaluate(self, image: Tensor) -> Tensor:
        """By the running statistics."""
        return self.normalise(image, self.running["running_mean"], self.running["running_var"])


class SlowBlock:
    """A recursive block of BasicBlock shape with I-LVBN and a deterministic gate."""

    def __init__(self, block):
        self.block = block
        self.norms = [[SlowNorm.copy_of(norm) for norm in part.loops] for part in (block.body.bn1, block.body.bn2)]

    def ask(self, image: Tensor) -> tuple[bool, Tensor]:
        """Whether it executes, and the softmax probability that it does."""
        scorer = self.block.gate.scorer
        hidden = torch.relu(scorer.fc1.weight @ image.mean((1, 2)) + scorer.fc1.bias)
        scores = scorer.fc2.weight @ hidden + scorer.fc2.bias
        return bool(scores[1] > scores[0]), scores.softmax(0)[1]

    def convolve(self, conv, image: Tensor) -> Tensor:
        """One image."""
        return torch.nn.functional.conv2d(image[None], conv.weight, padding=1)[0]

    def train(self, x: Tensor) -> tuple[Tensor, list[dict[int, Tensor]]]:
        """``a * B(x) + (1 - a) * x``; also the straight-through decision of every image that arrived, a loop each."""
        images, looping = dict(enumerate(x)), {i: torch.ones((), dtype=x.dtype) for i in range(len(x))}
        decisions = []
        for loop in range(self.block.num_loops):
            asked = {i: self.ask(images[i]) for i in looping}
            executes = {i: answer[0] for i, answer in asked.items()}
            decisions.append({i: float(hard) + soft - soft.detach() for i, (hard, soft) in asked.items()})
            looping = {i: looping[i] * decisions[-1][i] for i in looping}
            y = {i: self.convolve(self.block.body.conv1, images[i]) for i in looping}
            y = {i: torch.relu(v) for i, v in self.norms[0][loop].train(y, executes).items()}
            y = {i: self.convolve(self.block.body.conv2, v) for i, v in y.items()}
            y = self.norms[1][loop].train(y, executes)
            for i, a in looping.items():
                images[i] = a * torch.relu(y[i] + images[i]) + (1 - a) * images[i]
            looping = {i: a for i, a in looping.items() if executes[i]}
        return torch.stack([images[i] for i in range(len(x))]), decisions

    def evaluate(self, x: Tensor) -> tuple[Tensor, list[int]]:
        """One image at a time, as long as its gate says so; also the loops it took."""
        outputs, loops = [], []
        for image in x:
            done = 0
            while done < self.block.num_loops and self.ask(image)[0]:
                y = torch.relu(self.norms[0][done].evaluate(self.convolve(self.block.body.conv1, image)))
                y = self.norms[1][done].evaluate(self.convolve(self.block.body.conv2, y))
                image, done = torch.relu(y + image), done + 1
            outputs.append(image)
            loops.append(done)
        return torch.stack(outputs), loops


def slow_rate_loss(decisions: list[dict[int, Tensor]], target: float) -> Tensor:
    """Mean over the gates of (executed / arrived - target)^2, a gate that nobody reached adding nothing."""
    losses = [(sum(d.values()) / len(d) - target) ** 2 if d else torch.zeros(()) for d in decisions]
    return sum(losses) / len(losses)
