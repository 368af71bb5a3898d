"""The budget of a run, found on training images."""

from dataclasses import asdict
from pathlib import Path

from drnn.budgets.budget import Budget, refuse_static
from drnn.budgets.dial import Scope
from drnn.budgets.request import Request
from drnn.budgets.turn import turn_gates
from drnn.data import held_images
from drnn.data.transfer import to_device
from drnn.provenance import environment
from drnn.training.checkpoint import load_run
from drnn.weights.files import fingerprint


def calibrate(
    folder: Path,
    request: Request,
    scope: Scope = "global",
    images: int = 1000,
    data_root: str | None = None,
    device: str = "cpu",
) -> Budget:
    """Thresholds for a finished run, found on ``images`` of its training images; the weights stay as they are.

    Args:
        folder: the run.
        request: the mean per image to meet.
        scope: one threshold for all gates, or one each.
        images: how many training images to look at, at most.
        data_root: where the data set is, if not where the recipe says.
        device: where the images are run, and timed for a request in milliseconds: "cpu", "cuda", "auto", ...

    Returns:
        The thresholds, and what they cost on those images; for a request in milliseconds also ``ms_mean``, what was
        measured with these thresholds afterwards: of the optimised network, at batch 1, on 100 of the images.

    Raises:
        ValueError: a request that no threshold meets to within 2 %; the message has what can be reached. Or a
            network without gates, no images, or a device that is not here.
        FileNotFoundError: no finished run.
    """
    if images < 1:
        raise ValueError(f"images {images} received; give 1 or more")
    run = load_run(folder, data_root, device=device)
    model, recipe, dataset = run
    refuse_static(model)
    held = to_device(held_images(dataset, images), next(model.parameters()).device)
    turned = turn_gates(model, held, request, scope, run.normalize)
    return Budget(
        recipe.model, turned.thresholds, asdict(request), turned.found, fingerprint(folder), environment(held.device)
    )
