"""A recipe: everything that decides a training run."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Literal

from drnn.data.augment import PADDING_MODES, PaddingMode
from drnn.models.parts import DECISIONS, NORMS, SCORERS
from drnn.training.milestones import refuse_late, refuse_unordered


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run.

    Args:
        name: names the run folder.
        model: a name of `drnn models`.
        dataset: "digits", "cifar10", "imagefolder", "huggingface" or "webdataset".
        data_root: folder of the data set's files.
        download: fetch the data set into data_root where it is missing.
        held_out: test on this many training images, held out, instead of on the test images; 0 for the test.
        train_images: train on this many images only, drawn by the seed of the split; 0 for all.
        image_size: side of the images, where a data set is read from files; 0 for the network's own.
        epochs: passes over the training images.
        batch_size: images a step, over all processes.
        accumulate: backward passes a step; batch_size is split into as many.
        precision: "float32", or "bf16" for autocast where the device computes in it.
        lr: highest learning rate.
        schedule: "step" divides lr by 10 at each milestone; "cosine" warms up linearly, then falls to 0.
        milestones: epochs at which "step" divides, all before the end.
        warmup_epochs: epochs over which "cosine" rises to lr.
        momentum: of SGD.
        nesterov: Nesterov's form of it.
        weight_decay: strength of the decay.
        decay_norms: decay norms and biases too, as the paper does.
        clip_norm: longest gradient; 0 for no limit.
        ema_decay: keep a moving average of the weights, evaluated beside them; 0 for none.
        label_smoothing: share of the label spread over the other classes.
        padding: augmentation in memory: pixels to pad before cutting a random window of the old size.
        padding_mode: augmentation in memory: "zeros" is black, "reflect" the picture mirrored at its border.
        flip: augmentation: mirror an image with a probability of one half.
        cutout: augmentation in memory: side of a square that is greyed out, in pixels; 0 for none.
        min_area: augmentation from files: smallest share of the picture that a random window covers.
        distortion: augmentation from files: vary brightness, contrast, saturation and hue.
        rate_weight: weight of the target-rate loss, lambda.
        rate_warmup_epochs: epochs over which lambda rises linearly from 0.
        initial_weights: folder of a run or a saved network, or a file of weights, to begin from, see
            `drnn.training.beginning.begin_from`; null begins fresh.
        zero_init_loops: let every loop begin as the identity, see `drnn.models.zero_init_loops`.
        every_loop_weight: weight of the cross entropy of the same images with every loop executed, which is computed
            beside it, in about the same time again; 0 leaves it out.
        target_rate: share of arriving images that should execute a loop; null keeps the network's own.
        gate_noise: "none", "training" or "always"; null keeps the network's own.
        norm: inside recursive blocks, "shared", "lvbn" or "ilvbn"; null keeps the network's own.
        gate: of recursive blocks, "hidden", "linear", or "open" for every loop without a decision; null keeps the
            network's own.
        sync_norms: statistics of ordinary norms over all processes, on GPUs; not inside gated blocks.
        seed: of everything random in the run.
        threads: CPU threads; 0 leaves torch's choice.
        workers: processes that read images, where a data set is read from files.
        device: "auto", "cpu", "cuda", "cuda:1", ...

    Raises:
        ValueError: a value out of range, milestones that "step" does not come to, a name that the registries of
            `drnn.models.parts` do not have, or two fields of which one undoes the other.
    """

    name: str = "custom"
    model: str = "dr_resnet_digits"
    dataset: str = "digits"
    data_root: str = "data"
    download: bool = False
    held_out: int = 0
    train_images: int = 0
    image_size: int = 0
    epochs: int = 10
    batch_size: int = 64
    accumulate: int = 1
    precision: Literal["float32", "bf16"] = "float32"
    lr: float = 0.1
    schedule: Literal["step", "cosine"] = "cosine"
    milestones: tuple[int, ...] = ()
    warmup_epochs: float = 1.0
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    decay_norms: bool = True
    clip_norm: float = 0.0
    ema_decay: float = 0.0
    label_smoothing: float = 0.0
    padding: int = 1
    padding_mode: PaddingMode = "zeros"
    flip: bool = False
    cutout: int = 0
    min_area: float = 0.08
    distortion: bool = False
    rate_weight: float = 2.0
    rate_warmup_epochs: float = 0.0
    initial_weights: str | None = None
    zero_init_loops: bool = False
    every_loop_weight: float = 0.0
    target_rate: float | None = None
    gate_noise: str | None = None
    norm: str | None = None
    gate: str | None = None
    sync_norms: bool = False
    seed: int = 0
    threads: int = 0
    workers: int = 2
    device: str = "auto"

    def __post_init__(self):
        checks = {
            "epochs": self.epochs >= 1,
            "batch_size": self.batch_size >= 2,
            "lr": self.lr > 0,
            "warmup_epochs": self.warmup_epochs >= 0,
            "momentum": 0 <= self.momentum < 1,
            "nesterov": not self.nesterov or self.momentum > 0,
            "weight_decay": self.weight_decay >= 0,
            "label_smoothing": 0 <= self.label_smoothing < 1,
            "rate_weight": self.rate_weight >= 0,
            "every_loop_weight": self.every_loop_weight >= 0,
            "target_rate": self.target_rate is None or 0 <= self.target_rate <= 1,
            "padding": self.padding >= 0,
            "padding_mode": self.padding_mode in PADDING_MODES,
            "cutout": self.cutout >= 0,
            "min_area": 0 < self.min_area <= 1,
            "rate_warmup_epochs": self.rate_warmup_epochs >= 0,
            "clip_norm": self.clip_norm >= 0,
            "ema_decay": 0 <= self.ema_decay < 1,
            "accumulate": self.accumulate >= 1 and self.batch_size % self.accumulate == 0,
            "precision": self.precision in ("float32", "bf16"),
            "train_images": self.train_images >= 0,
            "image_size": self.image_size >= 0,
            "workers": self.workers >= 0,
            "held_out": self.held_out >= 0,
            "threads": self.threads >= 0,
            "schedule": self.schedule in ("step", "cosine"),
            "seed": -(2**63) <= self.seed < 2**64,
            "name": bool(self.name) and "/" not in self.name,
        }
        numbers = {field.name: getattr(self, field.name) for field in fields(self)}
        endless = {name for name, value in numbers.items() if isinstance(value, float) and not math.isfinite(value)}
        for field, fine in checks.items():
            if not fine or field in endless:
                raise ValueError(
                    f"recipe field {field} = {getattr(self, field)!r} is out of range; see drnn train --help"
                )
        for field, names in (("norm", NORMS), ("gate", (*SCORERS, "open")), ("gate_noise", DECISIONS)):
            if (name := getattr(self, field)) not in (known := [*names, None]):
                raise ValueError(
                    f"recipe field {field} = {name!r} is no name of one; choose {', '.join(map(repr, known[:-1]))}, or "
                    "null for the network's own"
                )
        if self.zero_init_loops and self.initial_weights is not None:
            raise ValueError(
                f"zero_init_loops received with initial_weights {self.initial_weights!r}, which would replace what it "
                "sets: leave one of the two out"
            )
        if self.schedule == "step":
            refuse_unordered(self.milestones)
            refuse_late(self.milestones, self.epochs)
        object.__setattr__(self, "milestones", tuple(self.milestones))

    def to_dict(self) -> dict:
        """Plain values, as YAML takes them."""
        return {**asdict(self), "milestones": list(self.milestones)}


def tested_images(held_out: int) -> str:
    """What a run of a recipe with this ``held_out`` is tested on, in words.

    Example:
        >>> tested_images(0), tested_images(5000)
        ('test images', 'held-out training images')
    """
    return "held-out training images" if held_out else "test images"
