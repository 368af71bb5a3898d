"""The gradient analysis, from the arrays of a study: against loop, and against training step."""

import numpy as np

from drnn.analysis.figures.curves import course_curves
from drnn.analysis.figures.style import Missing, Picture, canvas, line, sign, whole_numbers

Arrays = dict[str, np.ndarray]
WORDS = {
    "running": "as evaluation does it",
    "batch": "test batch's own",
    "recalibrated": "averaged anew",
    "own": "averaged anew, own for each loop",
    "mixed": "averaged anew, common to the loops",
}


def draw_study(facts: dict, arrays: Arrays, alone: bool = False) -> list[Picture | Missing]:
    """All pictures of a study; with Figure 6 where it stands ``alone``, since a run's report has that of all logs."""
    signature = (
        f"{facts['recipe']['model']} without gates, seed {facts['recipe']['seed']}, {facts['dataset']}, batches of "
        f"{facts['recipe']['batch_size']} of {facts['train_images']:,} images, {facts['test_images']:,} to test\n"
        f"untrained at step 0; measured at commit {facts['environment']['commit'] or 'unknown'}"
    )
    pictures = [against_loop(arrays), against_step(arrays), errors_by_statistics(facts)]
    if alone:
        pictures.insert(0, course_curves(facts))
    for picture in pictures:
        if isinstance(picture, Picture):
            sign(picture.figure, signature)
    return pictures


def _variants(arrays: Arrays) -> list[str]:
    return list(dict.fromkeys(key.split("/")[0] for key in arrays))


def against_loop(arrays: Arrays) -> Picture:
    """Gradient norms and gamma / sigma at the first and at the last reading, over the loops in running order."""
    variants, subjects = _variants(arrays), ("input_gradient", "weight_gradient", "gain")
    labels = ("gradient at the input", "own part of the weights'", "gamma / sigma")
    trained = len(arrays[f"{variants[0]}/steps"]) > 1
    figure, grid = canvas(7.2, 3, 2 if trained else 1, sharey="row", squeeze=False)
    for row, (subject, label) in enumerate(zip(subjects, labels, strict=True)):
        for column, place in enumerate((0, -1) if trained else (0,)):
            axes = grid[row, column]
            for index, variant in enumerate(variants):
                values = arrays[f"{variant}/{subject}"][place]
                line(axes, index, np.arange(len(values)), values, variant)
            axes.set_yscale("log")
            axes.set_title("before training" if place == 0 else "at the last reading", fontsize=9)
            axes.set_xlabel("loop, in running order", fontsize=8)
        grid[row, 0].set_ylabel(label, fontsize=8)
    grid[0, 0].legend(fontsize=7)
    ratios = {v: _growth(arrays[f"{v}/input_gradient"]) for v in variants}
    says = "Norm at the first loop's input over that at the last loop's, before training" + (
        " and at the last reading: " if trained else ": "
    )
    says += "; ".join(f"{v} {' and '.join(f'{x:.3g}' for x in r[: 2 if trained else 1])}" for v, r in ratios.items())
    naive = {"naive", "lvbn"} <= set(variants) and all(
        np.allclose(arrays[f"naive/{s}"][0], arrays[f"lvbn/{s}"][0], rtol=1e-3) for s in subjects
    )
    says += ". Before training, naive recursion and LVBN agree to a thousandth." if naive else "."
    return Picture("gradients_by_loop", "Gradients against loop", says, figure)


def _growth(gradients: np.ndarray) -> tuple[float, float]:
    ratio = gradients[:, 0] / gradients[:, -1]
    return float(ratio[0]), float(ratio[-1])


def against_step(arrays: Arrays) -> Picture | Missing:
    """First loop's input gradient, the shared weights' summed gradient and gamma / sigma in training."""
    name, title, variants = "gradients_by_step", "Gradients in training", _variants(arrays)
    if len(arrays[f"{variants[0]}/steps"]) < 2:
        return Missing(
            name, title, "measured at initialisation alone; --course_epochs (or --epochs) trains the variants"
        )
    figure, rows = canvas(6.6, 3, 1, sharex=True)
    subjects = (
        ("input_gradient", "first loop's input", lambda a: a[:, 0]),
        ("summed_gradient", "weights, summed over loops (root mean square)", lambda a: np.sqrt((a**2).mean(1))),
        ("gain", "gamma / sigma, mean over loops", lambda a: a.mean(1)),
    )
    for axes, (subject, label, reduce) in zip(rows, subjects, strict=True):
        for index, variant in enumerate(variants):
            values = reduce(arrays[f"{variant}/{subject}"])
            line(axes, index, arrays[f"{variant}/steps"], values, variant, markersize=2)
        axes.set_yscale("log")
        axes.set_title(label, fontsize=9)
    rows[0].legend(fontsize=7)
    rows[-1].set_xlabel("training step")
    tops = (f"{v} {arrays[f'{v}/summed_gradient'].max():.3g}" for v in variants)
    return Picture(name, title, f"Largest summed gradient of a block's weights in training: {'; '.join(tops)}.", figure)


def errors_by_statistics(facts: dict) -> Picture | Missing:
    """Which running statistics break which network, epoch by epoch."""
    name, title = "errors_by_statistics", "Errors by normalising statistics"
    variants = {key: value for key, value in facts["variants"].items() if value["epochs"]}
    if not variants:
        return Missing(
            name, title, "measured at initialisation alone; --course_epochs (or --epochs) trains the variants"
        )
    figure, rows = canvas(2.2 * len(variants) + 0.4, len(variants), 1, sharex=True, squeeze=False)
    says = []
    for axes, (variant, found) in zip(rows[:, 0], variants.items(), strict=True):
        epochs = [row["epoch"] for row in found["epochs"]]
        for index, kind in enumerate(found["epochs"][0]["errors"]):
            line(axes, index, epochs, [row["errors"][kind] for row in found["epochs"]], WORDS[kind])
        axes.set(title=variant, ylabel="test error", ylim=(0, 1))
        axes.legend(fontsize=6)
        whole_numbers(axes)
        last = found["epochs"][-1]["errors"]
        says.append(f"{variant}: " + ", ".join(f"{WORDS[kind]} {value:.1%}" for kind, value in last.items()))
    rows[-1, 0].set_xlabel("epoch")
    return Picture(name, title, f"Test error after the last epoch, by statistics. {'. '.join(says)}.", figure)
