"""What may be changed of a recipe for a set of runs, and the label that keeps their results apart."""

from collections.abc import Sequence
from pathlib import Path

from drnn.data.cifar10 import NUM_TRAIN
from drnn.training import Recipe
from drnn.training.milestones import fit_in, in_proportion
from drnn.weights.files import PICKLES, SAFETENSORS

TOLD = {  # fields of the recipe that may be changed: their word in a label, and what they are
    "epochs": ("epochs", "another length"),
    "train_images": ("images", "fewer images"),
    "held_out": ("held-out", "test on so many training images, held out"),
    "cutout": ("cutout", "another side of the square greyed out"),
    "padding_mode": ("padding", "of random windows"),
    "gate": ("gate", "of recursive blocks"),
    "gate_noise": ("noise", "when the gate draws lots"),
    "target_rate": ("target", "another target rate"),
    "rate_weight": ("lambda", "another weight of the target-rate loss"),
    "every_loop_weight": ("every-loop", "also learn from every loop executed, by this weight"),
    "zero_init_loops": ("zero-init", "let every loop begin as the identity"),
    "clip_norm": ("clip", "longest gradient"),
    "lr": ("lr", "another learning rate to begin with"),
    "initial_weights": ("weights", "folder of a run or a saved network, or a file of weights, to begin from"),
    "precision": ("precision", "float32, or bf16 under autocast"),
}
OF_BLOCKS = {  # fields of the recipe that need gates or loops: how rows begin that have such
    "gate": ("dr_",), "gate_noise": ("dr_",), "target_rate": ("dr_", "aig_"), "rate_weight": ("dr_", "aig_"),
    "every_loop_weight": ("dr_", "aig_"), "zero_init_loops": ("dr_",),
}  # fmt: skip


def refuse_idle(rows: Sequence[str], changes: dict) -> None:
    """ValueError for a field that would change nothing of one of the rows but its label."""
    for field in filter(changes.__contains__, OF_BLOCKS):
        beginnings = OF_BLOCKS[field]
        for row in rows:
            if not row.startswith(beginnings):
                raise ValueError(
                    f"{field} received; {row} has no gates or loops that it changes: name rows that begin with "
                    f"{' or '.join(beginnings)}"
                )
        if field not in ("gate", "zero_init_loops") and changes.get("gate") == "open":
            raise ValueError(f"{field} received with gate open, which is no gate: leave it out")


def label_of(schedule: str, changes: dict, base: Recipe) -> str:
    """A schedule that was changed is not taken for the one it was."""
    told = {key: word for key, (word, _) in TOLD.items() if key in changes and changes[key] != getattr(base, key)}
    words = (word if changes[key] is True else f"{_brief(changes[key])}-{word}" for key, word in told.items())
    return "-".join([schedule, *words])


def _brief(value: object) -> str:
    """Of a place the folder's name: a label is the name of a folder, too."""
    if not isinstance(value, str):
        return str(value)
    place = Path(value).resolve()
    return place.parent.name if place.suffix in (SAFETENSORS, *PICKLES) else place.name


def milestones_for(base: Recipe, epochs: int) -> dict:
    """The milestones of another length, where the schedule has any: the same shares of it."""
    if base.schedule == "cosine":
        if epochs <= base.warmup_epochs:
            raise ValueError(
                f"epochs {epochs} received; the first {base.warmup_epochs:g} of this schedule only raise the learning "
                "rate: give more"
            )
        return {}
    if epochs == base.epochs:
        return {}
    scaled = in_proportion(base.milestones, epochs, of=base.epochs)
    if not fit_in(scaled, epochs):
        raise ValueError(
            f"epochs {epochs} received; this schedule divides the learning rate at {_and(base.milestones)} of "
            f"{base.epochs} epochs, and that would be at {_and(scaled)} of {epochs}: give more"
        )
    return {"milestones": scaled}


def require_images(recipe: Recipe) -> None:
    """ValueError where CIFAR-10 has not the training images that a recipe asks for, or less than one batch of them."""
    left = NUM_TRAIN - recipe.held_out
    if recipe.train_images > left:
        raise ValueError(
            f"{recipe.train_images} images to train on received; {left} are left of {NUM_TRAIN} with held_out "
            f"{recipe.held_out}: ask for fewer"
        )
    left = recipe.train_images or left
    if left < recipe.batch_size:
        raise ValueError(
            f"train_images {recipe.train_images} and held_out {recipe.held_out} received; {left} training images are "
            f"left for batches of {recipe.batch_size}: train on more, or hold out fewer"
        )


def _and(numbers: Sequence[int]) -> str:
    return " and ".join(map(str, numbers))
