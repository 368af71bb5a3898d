"""What a run is made of while it runs, and where it stands."""

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from drnn.costs import count_costs
from drnn.data import Augmentation, EpochPlan, Normalize, Source
from drnn.data.seeds import seed_of
from drnn.data.transfer import to_device
from drnn.models import Classifier, set_dense
from drnn.training.capture import CapturedStep, can_capture
from drnn.training.closed import ClosedBlocks
from drnn.training.distributed import Workers, synchronise_norms
from drnn.training.evaluation import Evaluation, evaluate_source
from drnn.training.optimizer import WeightAverage, load_optimizer, make_optimizer, set_lr
from drnn.training.recipe import Recipe
from drnn.training.schedule import learning_rate, rate_weight
from drnn.training.step import Step, StepResult
from drnn.training.tally import Tally, require_finite

FETCH_EVERY = 50  # steps between two looks at a GPU's sums; a look waits for it
logger = logging.getLogger(__name__)


def require_batch(recipe: Recipe, num_train: int) -> None:
    """Before other work: whether there is a batch to train on.

    Raises:
        ValueError: fewer training images than one batch.
    """
    if recipe.batch_size > num_train:
        raise ValueError(f"batch_size {recipe.batch_size} received for {num_train} training images; make it smaller")


class Session:
    """A run in memory. Everything random in a step is a function of seed, epoch, batch and process.

    Args:
        recipe: what to do.
        model: the network, freshly initialised; moved to the workers' device.
        source: the data.
        workers: the processes that share the work, and this one's device.

    Attributes:
        epoch: 0-based, the one that is running or comes next.
        batch: 0-based batch of it that comes next.
        closed: which blocks have been named as closed.
        train_s: seconds spent so far, evaluation included.

    Raises:
        ValueError: a batch size that the images or the processes do not allow.
    """

    def __init__(self, recipe: Recipe, model: Classifier, source: Source, workers: Workers):
        require_batch(recipe, source.num_train)
        if recipe.batch_size % (workers.share.processes * recipe.accumulate):
            raise ValueError(
                f"batch_size {recipe.batch_size} received for {workers.share.processes} processes and "
                f"{recipe.accumulate} backward passes each; choose one that divides by both"
            )
        if recipe.batch_size // (workers.share.processes * recipe.accumulate) < 2:
            raise ValueError(
                f"batch_size {recipe.batch_size} received for {workers.share.processes} processes and "
                f"{recipe.accumulate} backward passes each: a norm needs two images; make it larger"
            )
        self.recipe, self.source, self.workers = recipe, source, workers
        self.model = model.to(workers.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if workers.device.type == "cuda":
            set_dense(model)  # no shape depends on the data, so the host need not wait for any
        if recipe.sync_norms:
            synchronise_norms(model)
        self.costs = count_costs(model, source.image_size)
        self.optimizer = make_optimizer(recipe, model)
        self.average = WeightAverage(model, recipe.ema_decay) if recipe.ema_decay else None
        self.step = Step(recipe, model, self.optimizer, Normalize.of(source), workers)
        self.run_step: Callable[[Tensor, Tensor, float], StepResult] = self.step
        self.captured = False
        self.augmentation = Augmentation(
            recipe.padding, recipe.padding_mode, recipe.flip, recipe.cutout, recipe.min_area, recipe.distortion
        )
        self.epoch, self.batch, self.metrics_bytes, self.train_s = 0, 0, 0, 0.0
        self.closed = ClosedBlocks(model, recipe.clip_norm)
        self.tally = self._new_tally()

    def _new_tally(self) -> Tally:
        return Tally(len(self.costs.loop_macs), self.workers.device)

    @property
    def batches(self) -> int:
        """Updates an epoch."""
        return self.source.num_train // self.recipe.batch_size

    @property
    def steps(self) -> int:
        """Updates so far."""
        return self.epoch * self.batches + self.batch

    def run_epoch(self, progress: bool, after_step: Callable[[], None]) -> dict:
        """The rest of this epoch; returns its metrics. ``after_step`` is called between steps."""
        recipe, started = self.recipe, time.perf_counter()
        first = self.batch
        self.model.train()
        with tqdm(
            total=self.batches * recipe.batch_size, initial=first * recipe.batch_size, unit="img", unit_scale=True,
            desc=f"epoch {self.epoch + 1}/{recipe.epochs}", disable=None if progress else True, leave=False,
        ) as bar:  # fmt: skip
            for images, labels in self.rest_of_epoch():
                self.update(to_device(images, self.workers.device), to_device(labels, self.workers.device))
                self.batch += 1
                if self.workers.device.type == "cpu" or self.batch % FETCH_EVERY == 0 or self.batch == self.batches:
                    self.look(bar, (time.perf_counter() - started) / (self.batch - first))
                bar.update(recipe.batch_size)
                after_step()
        seconds = time.perf_counter() - started
        means = self.tally.over_all(self.workers).means()
        rate = (self.batches - first) * recipe.batch_size / seconds
        lr = learning_rate(recipe, self.time_of(self.batches - 1))
        return {"epoch": self.epoch + 1, "lr": lr, **means, "images_per_s": rate}

    def rest_of_epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's part of each batch that comes in this epoch, augmented, wherever the source keeps it."""
        plan = EpochPlan(self.recipe.seed, self.epoch, self.recipe.batch_size, self.batch)
        return self.source.train_batches(plan, self.augmentation, self.workers.share)

    def look(self, bar: tqdm, step_s: float) -> None:
        """Fetch the sums, show them with the time left at ``step_s`` a step, and stop a run that has diverged."""
        self.require_finite_loss()
        if not bar.disable:
            left = tqdm.format_interval((self.recipe.epochs * self.batches - self.steps) * step_s)
            bar.set_postfix({**self.tally.short(), "run left": left}, refresh=False)

    def require_finite(self) -> None:
        """Stop a run that has diverged, by its losses since the epoch's start and by its weights.

        Raises:
            FloatingPointError: one of them is not finite.
        """
        if self.batch:
            self.require_finite_loss()
        largest = torch.stack([parameter.detach().abs().amax() for parameter in self.model.parameters()]).amax()
        require_finite(float(largest), f"the largest weight after {self.steps} steps")

    def require_finite_loss(self) -> None:
        """The same by the losses alone."""
        require_finite(self.tally.means()["train_loss"], f"the loss of epoch {self.epoch + 1}, step {self.batch}")

    def time_of(self, batch: int) -> float:
        """Where in the run the update from a 0-based batch of this epoch is made, in epochs."""
        return self.epoch + (batch + 0.5) / self.batches

    def update(self, images: Tensor, labels: Tensor) -> None:
        """One update from a batch on the device."""
        recipe, at = self.recipe, self.time_of(self.batch)
        if not self.captured and can_capture(self.model) and not self.workers.several:
            self.run_step, self.captured = CapturedStep(self.step, images, labels), True
        torch.manual_seed(seed_of(recipe.seed, self.epoch, self.batch, self.workers.share.rank))
        set_lr(self.optimizer, learning_rate(recipe, at))
        self.tally.add(self.run_step(images, labels, rate_weight(recipe, at)))
        if self.average is not None:
            self.average.update(self.model)

    def end_epoch(self) -> None:
        """Stand at the start of the next one."""
        self.epoch, self.batch, self.tally = self.epoch + 1, 0, self._new_tally()

    def test(self) -> tuple[Evaluation, Evaluation | None]:
        """Evaluate the network, and the average of its weights where one is kept."""
        self.workers.agree(self.model)
        on_gpu = self.workers.device.type == "cuda"  # where small batches wait for the host, and steps take more memory
        count = max(500, 4 * self.recipe.batch_size) if on_gpu else 500
        result = evaluate_source(self.model, self.source, self.workers, count, self.costs)
        if self.average is None:
            return result, None
        self.workers.agree(self.average.model)
        return result, evaluate_source(self.average.model, self.source, self.workers, count, self.costs)  # type: ignore[arg-type]

    def state(self) -> dict:
        """All that the rest of the run depends on, as a checkpoint keeps it."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "metrics_bytes": self.metrics_bytes,
            "train_s": self.train_s,
            "tally": self.tally.over_all(self.workers).state(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.model.state_dict(),
            "average_updates": 0 if self.average is None else self.average.updates,
            "closed": sorted(self.closed.told),
        }

    def restore(self, state: dict, folder: Path) -> None:
        """Stand where a checkpoint was made."""
        self.epoch, self.batch = state["epoch"], state["batch"]
        self.metrics_bytes, self.train_s = state["metrics_bytes"], state["train_s"]
        if self.workers.first:  # the sums are those of all processes
            self.tally.restore(state["tally"])
        self.closed.told = set(state.get("closed", ()))  # which checkpoints of before do not say
        self.model.load_state_dict(state["model"])
        load_optimizer(self.optimizer, state["optimizer"])
        if self.average is not None:
            self.average.model.load_state_dict(state["average"])
            self.average.updates = state["average_updates"]
        logger.info("%s: going on after %d steps, in epoch %d", folder, self.steps, self.epoch + 1)
