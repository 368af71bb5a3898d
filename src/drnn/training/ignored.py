"""What a recipe asks for and will not get: said before training, which goes on."""

from drnn.data.records import RECORDS
from drnn.training.recipe import Recipe

IN_MEMORY = ("padding", "padding_mode", "cutout")  # fields that only images in memory use
FROM_FILES = ("image_size", "min_area", "distortion")  # and that only those read from files do
OF_SCHEDULES = {"step": ("warmup_epochs",), "cosine": ("milestones",)}  # and those of the other schedule


def ignored_fields(recipe: Recipe) -> dict[str, list[str]]:
    """The fields that are not at their defaults and change nothing, by what does not use them; 0 asks for nothing.

    Example:
        >>> ignored_fields(Recipe(schedule="step", warmup_epochs=5))
        {'the schedule step': ['warmup_epochs']}
    """
    unused = {
        f"{recipe.dataset} data": IN_MEMORY if recipe.dataset in RECORDS else FROM_FILES,
        f"the schedule {recipe.schedule}": OF_SCHEDULES[recipe.schedule],
    }
    if recipe.gate == "open":
        unused["gate open"] = ("target_rate",)
    own = Recipe()
    found = {
        user: [field for field in fields if (asked := getattr(recipe, field)) and asked != getattr(own, field)]
        for user, fields in unused.items()
    }
    return {user: fields for user, fields in found.items() if fields}


def warnings_for(recipe: Recipe, has_gates: bool) -> list[str]:
    """A sentence for each thing that is ignored, and for each warm-up that the run ends in.

    Args:
        recipe: of the run.
        has_gates: whether its network has any.
    """
    said = []
    for user, names in ignored_fields(recipe).items():
        values = ", ".join(f"{field} = {getattr(recipe, field)!r}" for field in names)
        said.append(f"{values} received, and ignored by {user}")
    if recipe.schedule == "cosine" and recipe.warmup_epochs >= recipe.epochs:
        said.append(
            f"warmup_epochs {recipe.warmup_epochs:g} received for {recipe.epochs} epochs: the learning rate only rises "
            "and never falls; give more epochs, or a shorter warm-up"
        )
    if has_gates and recipe.rate_weight and recipe.rate_warmup_epochs > recipe.epochs:
        said.append(
            f"rate_warmup_epochs {recipe.rate_warmup_epochs:g} received for {recipe.epochs} epochs: lambda ends below "
            f"{recipe.rate_weight:g}, so gates may miss the target rate; give more epochs, or a shorter warm-up"
        )
    return said
