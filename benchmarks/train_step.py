"""What a training step costs, measured in pairs in one run: against a plain loop, and against static networks.

python benchmarks/train_step.py [--data_root DIR] [--rounds 9] [--device cpu|cuda]
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.transforms.functional import to_pil_image

from drnn import set_dense, target_rate_loss
from drnn.core import GateDecision, LoopGroups, RecursiveBlock
from drnn.core.norms import LEAVING, DecisionBatchNorm2d
from drnn.data import Augmentation, Dataset, EpochPlan, load_dataset
from drnn.models import Classifier, create_model
from drnn.provenance import environment
from drnn.storage import write_json
from drnn.timing import PairedTimes, time_pairs
from drnn.training import find_recipe
from drnn.training.distributed import Workers, choose_device
from drnn.training.session import Session

RESULTS = Path(__file__).parent / "results"
BATCH, SEED, LR = 256, 0, 0.01
HALF = 0.618  # r + r^2 = 1: of a block's two loops, one is executed on average


class DrivenGate(nn.Module):
    """A gate that does its work and then executes with a given probability, whatever it found."""

    def __init__(self, gate: nn.Module, rate: float):
        super().__init__()
        self.gate, self.rate = gate, rate

    def forward(self, x: Tensor) -> GateDecision:
        """Decide by a draw; the gradient goes to the gate's own margin."""
        margin = self.gate(x).margin
        return GateDecision(margin, margin - margin.detach() + self.rate - torch.rand_like(margin))


def session(data: Dataset, model: Classifier, recipe_name: str, device: torch.device) -> Callable[[int], object]:
    """Our training: one update from the next batch of the resident images."""
    recipe = replace(find_recipe(recipe_name), lr=LR, milestones=())
    made = Session(recipe, model, data.to(device), Workers(device))
    made.model.train()
    augmentation = Augmentation(padding=recipe.padding, flip=recipe.flip)
    epochs = chain.from_iterable(
        made.source.train_batches(EpochPlan(SEED, epoch, BATCH), augmentation) for epoch in range(1000)
    )
    return lambda _: made.update(*next(epochs))


def plain_loop(data: Dataset, model: Classifier, workers: int) -> Callable[[int], object]:
    """What one would write by hand: PIL images, torchvision's transforms, a DataLoader, an eager float32 step."""
    set_dense(model).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9, weight_decay=5e-4)

    class Pictures(torch.utils.data.Dataset):
        transform = v2.Compose([
            v2.RandomCrop(32, 4), v2.RandomHorizontalFlip(), v2.ToImage(), v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(data.mean, data.std),
        ])  # fmt: skip

        def __len__(self):
            return len(data.train_images)

        def __getitem__(self, index):
            return self.transform(to_pil_image(data.train_images[index])), int(data.train_labels[index])

    loader = torch.utils.data.DataLoader(
        Pictures(), BATCH, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0
    )
    batches: Iterator = chain.from_iterable(repeat(loader))

    def step(_):
        images, labels = next(batches)
        logits, record = model.forward_with_gates(images)
        loss = nn.functional.cross_entropy(logits, labels)
        if model.target_rate is not None:
            loss = loss + 2 * target_rate_loss(record, model.target_rate)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def described(sides: tuple[str, str], times: PairedTimes, rounds: int) -> dict:
    rates = [BATCH / seconds for seconds in times.medians_s]
    return {"sides": sides, "images_per_s": rates, "time_ratio": times.ratio, "rounds": rounds, "batch_size": BATCH}


def network(name: str, rate: float | None = None, **overrides) -> Classifier:
    torch.manual_seed(SEED)
    model = create_model(name, **overrides)
    for block in model.modules():
        if rate is not None and isinstance(block, RecursiveBlock):
            block.gate = DrivenGate(block.gate, rate)
    return model


def against_plain_loops(data: Dataset, rounds: int) -> dict:
    """Both networks, input included, against the loop one would write by hand."""
    found, device = {}, torch.device("cpu")
    for name, recipe in (("resnet20_cifar", "cifar10-resnet20"), ("dr_resnet16_cifar", "cifar10-dr16")):
        for workers in (0, 2):
            ours, plain = session(data, network(name), recipe, device), plain_loop(data, network(name), workers)
            sides = (f"{name}, drnn", f"{name}, plain loop, {workers} loader processes")
            found[f"{name}, {workers}"] = described(
                sides, time_pairs(ours, plain, rounds, warmup=2, device=device), rounds
            )
    return found


def against_static(data: Dataset, rounds: int) -> dict:
    """The gated network against static ones with the multiply-adds that it executes: all loops, and half of them."""
    found, device = {}, torch.device("cpu")
    static = {"all": (3, 3, 3), "half": (3, 2, 2)}
    for share, rate in (("all", None), ("half", HALF)):
        gated = session(data, network("dr_resnet16_cifar", rate), "cifar10-dr16", device)
        blocks = network("resnet20_cifar", blocks=static[share])
        times = time_pairs(gated, session(data, blocks, "cifar10-resnet20", device), rounds, device=device)
        sides = (f"dr_resnet16_cifar, {share} loops executed", f"static, {static[share]} blocks")
        found[share] = described(sides, times, rounds)
    return found


def norms(rounds: int) -> dict:
    """Forward and backward of I-LVBN, both groups of a batch, against one batch norm over all of it."""
    found = {}
    x = torch.randn(BATCH, 32, 16, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
    plain, ours = nn.BatchNorm2d(32), DecisionBatchNorm2d(32)
    executes = torch.arange(BATCH) % 10 < 7
    going, everyone = int(executes.sum()), torch.ones_like(executes)
    dy = torch.randn_like(x)

    def apart(_):
        ours(x[:going]).backward(dy[:going])
        with torch.no_grad():
            ours(x[going:], 0, LEAVING)

    def masked(_):
        ours(x, 0, LoopGroups(everyone, executes)).backward(dy)

    for name, form in (("groups apart, executing one", apart), ("masked, both", masked)):
        times = time_pairs(form, lambda _: plain(x).backward(dy), rounds * 5, device=x.device)
        found[name] = described((f"I-LVBN, {name}", "BatchNorm2d"), times, rounds * 5)
    return found


def on_gpu(data: Dataset, rounds: int, device: torch.device) -> dict:
    """ResNet-110 and DR-Res 74, seconds an epoch, and the time their feature maps need to pass through memory."""
    deep, gated = network("resnet110_cifar"), network("dr_resnet74_cifar")
    bound = feature_bytes(deep) * 50_000 / bandwidth(device)
    ours = [session(data, deep, "cifar10-resnet110", device), session(data, gated, "cifar10-dr74", device)]

    def twenty(side: Callable[[int], object]) -> Callable[[int], object]:
        return lambda turn: [side(turn) for _ in range(20)]

    times = time_pairs(twenty(ours[1]), twenty(ours[0]), rounds, device=device)
    epochs = [seconds / 20 * (50_000 // BATCH) for seconds in times.medians_s]
    return {
        "sides": ["dr_resnet74_cifar", "resnet110_cifar"], "epoch_s": epochs, "time_ratio": times.ratio,
        "rounds": rounds, "memory_bound_s": bound, "share_of_bound": bound / epochs[1],
    }  # fmt: skip


def feature_bytes(model: Classifier) -> int:
    """Bytes of an image's feature maps a step must move: each convolution's input and output, read or written once
    forward and twice backward, float32; norms and rectifiers taken as free.
    """
    total = 0

    def count(_, given, out):
        nonlocal total
        total += 3 * 4 * (given[0].numel() + out.numel())

    hooks = [layer.register_forward_hook(count) for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    with torch.no_grad():
        model(torch.zeros(1, *model.input_size))
    for hook in hooks:
        hook.remove()
    return total


def bandwidth(device: torch.device) -> float:
    """Bytes a second of a large copy, read and write counted."""
    x = torch.empty(2**28, dtype=torch.uint8, device=device)
    y = torch.empty_like(x)
    times = time_pairs(lambda _: y.copy_(x), lambda _: x.copy_(y), 20, device=device)
    return 2 * x.numel() / times.medians_s[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_root", default="data", help="folder of CIFAR-10")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    data, device = load_dataset("cifar10", options.data_root), choose_device(options.device)
    result: dict = {"environment": environment(device), "seed": SEED}
    if device.type == "cuda":
        result["gpu"] = on_gpu(data, options.rounds, device)
    else:
        result["plain_loop"] = against_plain_loops(data, options.rounds)
        result["static"] = against_static(data, options.rounds)
        result["norms"] = norms(options.rounds)
    write_json(RESULTS / f"train_step_{device.type}.json", result)
    print((RESULTS / f"train_step_{device.type}.json").read_text())


if __name__ == "__main__":
    main()
