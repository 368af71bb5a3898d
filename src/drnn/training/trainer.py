"""The training loop: one step, one path, for every network."""

import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from drnn.core import GateRecord, target_rate_loss
from drnn.costs import count_costs, count_params
from drnn.data import Dataset, Normalize, PadCropFlip, epoch_batches, hold_out, load_dataset
from drnn.models import Classifier
from drnn.provenance import environment
from drnn.storage import write_json
from drnn.training.evaluation import Evaluation, evaluate
from drnn.training.recipe import Recipe
from drnn.training.run_folder import SUMMARY, build_model, log_metrics, save_weights, start_run
from drnn.training.schedule import learning_rate


def load_data(recipe: Recipe) -> Dataset:
    """The recipe's data set; its test part is held-out training images where the recipe says so."""
    dataset = load_dataset(recipe.dataset, recipe.data_root, recipe.download)
    return hold_out(dataset, recipe.held_out) if recipe.held_out else dataset


def choose_device(name: str) -> torch.device:
    """A device by name; "auto" takes a GPU where there is one.

    Raises:
        ValueError: a device this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device {name!r} is not usable here ({str(error).splitlines()[0]}); try auto or cpu"
        ) from error


def train(recipe: Recipe, folder: Path, overwrite: bool = False, progress: bool = True) -> dict:
    """Train, evaluate and save; returns the summary that is also written to the run folder.

    Args:
        recipe: what to do.
        folder: where the run is kept.
        overwrite: replace a run that is already there.
        progress: show a bar on standard error, where that is a terminal.

    Raises:
        FileExistsError: a run is already there.
        FloatingPointError: the loss is no longer finite; metrics up to there and the recipe stay.
        ValueError, FileNotFoundError: a recipe, data set or device that cannot be used.
    """
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    device, dataset = choose_device(recipe.device), load_data(recipe)
    torch.manual_seed(recipe.seed)
    model = build_model(recipe, dataset).to(device)
    start_run(folder, recipe, overwrite)
    dataset = dataset.to(device)
    session = Session(recipe, model, dataset, torch.Generator().manual_seed(recipe.seed))
    started = time.perf_counter()
    result = None
    for epoch in range(recipe.epochs):
        metrics = session.run_epoch(epoch, progress)
        result = session.test()
        require_finite(result.loss, f"the test loss after epoch {epoch + 1}")
        log_metrics(folder, {**metrics, "test_loss": result.loss, "test_error": 1 - result.acc1})
    assert result is not None
    save_weights(folder, model)
    summary = {
        "recipe": recipe.to_dict(),
        **result.summary(),
        "params": count_params(model),
        "train_s": time.perf_counter() - started,
        "environment": environment(),
    }
    write_json(folder / SUMMARY, summary)
    return summary


def require_finite(value: float, what: str) -> None:
    """Stop a run that has diverged.

    Raises:
        FloatingPointError: ``value`` is infinite or not a number.
    """
    if not math.isfinite(value):
        raise FloatingPointError(f"{what} is {value}: training diverged; try a lower --lr")


@dataclass
class Session:
    """What a run is made of while it runs. The order of images and their augmentation come from ``generator``."""

    recipe: Recipe
    model: Classifier
    dataset: Dataset
    generator: torch.Generator
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self):
        recipe, images = self.recipe, len(self.dataset.train_images)
        if recipe.batch_size > images:
            raise ValueError(f"batch_size {recipe.batch_size} received for {images} training images; make it smaller")
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
        )  # fmt: skip
        self.costs = count_costs(self.model, self.dataset.image_size)
        self.augment = PadCropFlip(recipe.padding, recipe.flip)
        self.normalize = Normalize(self.dataset.mean, self.dataset.std)
        self.criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)

    def run_epoch(self, epoch: int, progress: bool) -> dict:
        """One pass over the training images; returns its metrics."""
        size, total = self.recipe.batch_size, len(self.dataset.train_images)
        tally, started = Tally(), time.perf_counter()
        batches = list(epoch_batches(total, size, self.generator, drop_last=True))
        bar = tqdm(
            batches, desc=f"epoch {epoch + 1}/{self.recipe.epochs}", disable=None if progress else True, leave=False
        )
        self.model.train()
        for index, rows in enumerate(bar):
            lr = learning_rate(self.recipe, epoch + (index + 0.5) / len(batches))
            tally.add(*self.step(rows.to(self.dataset.train_images.device), lr))
            require_finite(tally.last_loss, f"the loss of epoch {epoch + 1}, step {index + 1}")
            bar.set_postfix(tally.short(), refresh=False)
        seconds = time.perf_counter() - started
        return {"epoch": epoch + 1, "lr": lr, **tally.means(), "images_per_s": tally.images / seconds}

    def step(self, rows: Tensor, lr: float) -> tuple[Tensor, Tensor, GateRecord]:
        """One update from the training images ``rows`` ``(N,)``: loss, wrong ``(N,)``, record."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        labels = self.dataset.train_labels[rows]
        images = self.normalize(self.augment(self.dataset.train_images[rows], self.generator))
        logits, record = self.model.forward_with_gates(images)
        loss = self.criterion(logits, labels)
        if self.model.target_rate is not None:
            loss = loss + self.recipe.rate_weight * target_rate_loss(record, self.model.target_rate)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach(), logits.detach().argmax(1) != labels, record

    def test(self) -> Evaluation:
        """Evaluate on the test part."""
        data = self.dataset
        return evaluate(self.model, data.test_images, data.test_labels, self.normalize, costs=self.costs)


class Tally:
    """Sums over an epoch."""

    def __init__(self):
        self.images, self.loss_sum, self.wrong, self.last_loss = 0, 0.0, 0, 0.0
        self.arrived: Tensor | int = 0
        self.executed: Tensor | int = 0

    def add(self, loss: Tensor, wrong: Tensor, record: GateRecord) -> None:
        """Add one step."""
        self.last_loss = float(loss)
        self.images += len(wrong)
        self.loss_sum += self.last_loss * len(wrong)
        self.wrong += int(wrong.sum())
        self.arrived = self.arrived + record.arrived.sum(0)
        self.executed = self.executed + record.executed.sum(0)

    def means(self) -> dict:
        """Loss, error, loops per image, and the executed rate of each gate (None where nobody arrived)."""
        arrived, executed = torch.as_tensor(self.arrived).tolist(), torch.as_tensor(self.executed).tolist()
        rates = [e / a if a else None for e, a in zip(executed, arrived, strict=True)]
        return {
            "train_loss": self.loss_sum / self.images,
            "train_error": self.wrong / self.images,
            "mean_loops": sum(executed) / self.images,
            "executed_rates": rates,
        }

    def short(self) -> dict:
        """What fits on a progress bar."""
        means = self.means()
        return {
            "loss": f"{means['train_loss']:.3f}",
            "error": f"{means['train_error']:.3f}",
            "loops": f"{means['mean_loops']:.2f}",
        }
