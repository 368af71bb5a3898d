"""A run from its recipe to its summary: interrupted at any moment, it goes on where it was."""

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch

from drnn.costs import count_params
from drnn.data import AnyDataset, hold_out, limit, load_dataset, load_streamed
from drnn.data.augment import PadCropFlip
from drnn.data.records import RECORDS
from drnn.models import Classifier, model_spec
from drnn.provenance import environment
from drnn.storage import write_json
from drnn.training.beginning import Beginning, begin_from
from drnn.training.distributed import Workers, restarted, workers_of
from drnn.training.evaluation import Evaluation
from drnn.training.ignored import warnings_for
from drnn.training.interrupt import SAVED, Interrupted, Requests, polite_end
from drnn.training.network import build_model, save_weights
from drnn.training.recipe import Recipe
from drnn.training.run_folder import AVERAGE, SUMMARY, goes_on, log_metrics, open_run
from drnn.training.session import Session
from drnn.training.state import save_state
from drnn.training.tally import require_finite
from drnn.weights.files import WEIGHTS, fingerprint

logger = logging.getLogger(__name__)


def load_data(recipe: Recipe) -> AnyDataset:
    """The recipe's data set; its test part is held-out training images where the recipe says so."""
    if recipe.dataset in RECORDS:
        side = recipe.image_size or model_spec(recipe.model).input_size[1]
        dataset: AnyDataset = load_streamed(recipe.dataset, recipe.data_root, side, recipe.workers)
    else:
        dataset = load_dataset(recipe.dataset, recipe.data_root, recipe.download)
        PadCropFlip(recipe.padding, recipe.flip, recipe.padding_mode).refuse_small(*dataset.image_size[1:])
    if recipe.held_out:
        dataset = hold_out(dataset, recipe.held_out)
    return limit(dataset, recipe.train_images) if recipe.train_images else dataset


def train(
    recipe: Recipe,
    folder: Path,
    overwrite: bool = False,
    progress: bool = True,
    resume: bool = False,
    checkpoint_minutes: float = 10.0,
    tensorboard: bool = False,
) -> dict:
    """Train, evaluate and save; returns the summary that is also written to the run folder.

    A run of the same recipe that is already in the folder goes on where its last checkpoint was made, to the same
    bits on the CPU; one that is finished is not run again.

    Args:
        recipe: what to do.
        folder: where the run is kept.
        overwrite: replace a run that is already there.
        progress: show a bar on standard error, where that is a terminal.
        resume: refuse to start from nothing.
        checkpoint_minutes: longest time between checkpoints; there is one after every epoch in any case.
        tensorboard: also write events for TensorBoard, with the extra of that name.

    Raises:
        BlockingIOError: another process is training in the folder.
        FileExistsError: a run of another recipe is already there.
        FloatingPointError: the loss is no longer finite; metrics up to there, the recipe and a checkpoint stay.
        Interrupted: SIGTERM, SIGHUP or Ctrl-C; the run was saved.
        ValueError, FileNotFoundError, OSError: a recipe, data set, device or folder that cannot be used;
            or a run there on data of other classes or another number of training images.
    """
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    with workers_of(recipe.device) as workers, polite_end() as requests, ExitStack() as held:
        source = workers.in_turn(lambda: load_data(recipe))
        torch.manual_seed(recipe.seed)
        model = build_model(recipe, source)
        overwrite = overwrite and not restarted()
        begins = workers.decide(lambda: overwrite or not goes_on(folder))
        begun = workers.in_turn(lambda: _begin(model, recipe, folder)) if begins else None
        if begun is not None and begun.tied and workers.first:
            logger.info("%s is of a static network: each loop begins as one of its blocks", recipe.initial_weights)
        if begun is not None and begun.fresh and workers.first:
            logger.info("not of %s, so they begin fresh: %s", recipe.initial_weights, ", ".join(begun.fresh))
        for warning in warnings_for(recipe, model.target_rate is not None) if workers.first else []:
            logger.warning(warning)
        session = Session(recipe, model, source.to(workers.device), workers)
        status, found = workers.decide(
            lambda: open_run(folder, recipe, held, overwrite, resume, source, workers.device, begun and begun.sha256)
        )
        if status == "finished":
            assert found is not None
            return found
        if found is not None:
            session.restore(found, folder)
        return Run(session, folder, requests, checkpoint_minutes, tensorboard).finish(progress)


def _begin(model: Classifier, recipe: Recipe, folder: Path) -> Beginning | None:
    """Give a run that begins now its initial weights, where it has any."""
    if recipe.initial_weights is None:
        return None
    if Path(recipe.initial_weights).resolve().is_relative_to(folder.resolve()):
        raise ValueError(
            f"initial_weights {recipe.initial_weights} received for a run in {folder}, which would replace them; "
            "choose another --out"
        )
    return begin_from(model, recipe.initial_weights)


class Run:
    """A session and the folder it is kept in."""

    def __init__(
        self, session: Session, folder: Path, requests: Requests, checkpoint_minutes: float, tensorboard: bool
    ):
        self.session, self.folder, self.requests = session, folder, requests
        self.workers: Workers = session.workers
        self.checkpoint_s, self.tensorboard = checkpoint_minutes * 60, tensorboard
        self.started, self.saved, self.before_s = time.perf_counter(), time.perf_counter(), session.train_s
        self.events: Callable[[dict], None] = lambda metrics: None
        if tensorboard and self.workers.first:
            from drnn.training.events import event_writer

            self.events = event_writer(folder)

    def finish(self, progress: bool) -> dict:
        """Train what is left, then write weights and summary."""
        session = self.session
        results = None
        while session.epoch < session.recipe.epochs:
            metrics = session.run_epoch(progress and self.workers.first, self.after_step)
            results = session.test()
            self.log(metrics, *results)
            session.end_epoch()
            self.save()
        return self.conclude(*(results or session.test()))

    def log(self, metrics: dict, result: Evaluation, average: Evaluation | None) -> None:
        """One line of metrics an epoch."""
        require_finite(result.loss, f"the test loss after epoch {self.session.epoch + 1}")
        metrics = {**metrics, "test_loss": result.loss, "test_error": 1 - result.acc1}
        if average is not None:
            metrics["test_error_ema"] = 1 - average.acc1
        if self.workers.first:
            self.session.metrics_bytes = log_metrics(self.folder, metrics)
            self.events(metrics)
            if warning := self.session.closed.warning(metrics["epoch"], metrics["executed_rates"]):
                logger.warning(warning)

    def after_step(self) -> None:
        """Between two steps: end where that was asked for, of any of the processes, save where it is time."""
        late = self.workers.first and time.perf_counter() - self.saved > self.checkpoint_s
        asked, late = self.workers.largest(self.requests.received or 0, int(late))
        if asked or late:
            self.save()
        if asked:
            self.workers.wait()  # until it is on the disk
            where = f"{SAVED} after {self.session.steps} steps in {self.folder}; run the command again to go on"
            raise Interrupted(asked, where)

    def save(self) -> None:
        """A checkpoint of where the session stands; all processes are here, since it tells of all.

        Raises:
            FloatingPointError: it has diverged; the checkpoint before stays.
        """
        self.session.require_finite()
        self.session.train_s = self.before_s + time.perf_counter() - self.started
        state = self.session.state()
        if self.workers.first:
            save_state(self.folder, self.session.steps, state)
        self.saved = time.perf_counter()

    def conclude(self, result: Evaluation, average: Evaluation | None) -> dict:
        """Weights, then the summary with their fingerprint, which only the first process knows."""
        session = self.session
        summary: dict = {
            "recipe": session.recipe.to_dict(),
            **result.summary(),
            "ema": None if average is None else average.summary(),
            "params": count_params(session.model),
            "train_s": session.train_s,
            "processes": self.workers.share.processes,
            "environment": environment(self.workers.device),
        }
        if self.workers.first:
            save_weights(self.folder / WEIGHTS, session.model)
            if session.average is not None:
                save_weights(self.folder / AVERAGE, session.average.model)
                summary["average_sha256"] = fingerprint(self.folder, AVERAGE)
            summary["weights_sha256"] = fingerprint(self.folder)
            write_json(self.folder / SUMMARY, summary)
        self.workers.wait()
        return summary
