"""From a run folder to its findings."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from drnn.analysis.agreement import seed_agreement
from drnn.analysis.answers import Answers
from drnn.analysis.curves import Curves, curves_of_study, read_curves
from drnn.analysis.findings import Findings, finite
from drnn.analysis.galleries import galleries
from drnn.analysis.gradients import Plan, study
from drnn.analysis.gradients.study import study_arrays, study_facts
from drnn.analysis.gradients.variants import PLAIN, require_loops
from drnn.analysis.loops import early_and_late, error_by_loops, execution_map, loop_histogram, loops_by_class
from drnn.analysis.norm_statistics import norm_statistics
from drnn.analysis.robustness import robustness
from drnn.analysis.subject import Options, Subject, load_others, load_subject
from drnn.data import Dataset
from drnn.models import Classifier
from drnn.provenance import environment
from drnn.training.recipe import Recipe, tested_images
from drnn.training.run_folder import ENVIRONMENT, SUMMARY, read_recipe, run_environment, run_summary
from drnn.training.schedule import shortened
from drnn.training.session import require_batch
from drnn.weights.files import WEIGHTS, fingerprint, read_weights
from drnn.weights.folder import CARD

GALLERY, READINGS = 5, 20  # images a class, readings a course
RECURSIONS = {  # gate and norm of a recipe that takes parts of its network away
    ("open", "shared"): " without gates, naive recursion",
    ("open", "lvbn"): " without gates, LVBN",
    ("open", "ilvbn"): " without gates, LVBN",
    (None, "lvbn"): " with LVBN",
    (None, "shared"): " with naive norms",
}


def analyse_run(folder: Path, others: Sequence[Path] = (), options: Options | None = None) -> Findings:
    """Look at a finished run: loops, statistics, galleries, calibration, robustness, logs, gradients.

    Args:
        folder: the run.
        others: further runs of the same network, as of other seeds, for the agreement of their loops.
        options: see `Options`.

    Raises:
        FileNotFoundError: no finished run in a folder, or no data.
        ValueError: a network in which no block loops, more images from files than memory should hold, or a course on
            such data, runs of another network or on other test images, a course without a batch to train on, or a
            damaged file.
    """
    options = options or Options()
    logs = [folder, *others, *options.logs]
    for number, run in enumerate(logs):
        if run.resolve() in [other.resolve() for other in logs[:number]]:
            raise ValueError(f"{run} received twice; give each run once")
    subject, recipe = load_subject(folder, options)
    require_loops(recipe.model)
    if options.course_epochs:
        require_batch(recipe, subject.dataset.num_train)
    same = load_others(others, subject, recipe, options)
    curves = [(read_curves(run, num_classes_of(run, subject.dataset)), origin(run)) for run in logs]
    names = distinct([curve.name for curve, _ in curves])
    answers = subject.ask()
    findings = Findings(_facts(folder, recipe, subject.dataset, answers))
    _add_loops(findings, answers)
    _add_norms(findings, subject.model)
    _add_gallery(findings, answers, subject.dataset)
    _add_agreement(findings, answers, same, names)
    seen = robustness(lambda worse: _loops_and_errors(subject.ask(worse)), subject.dataset.test_images)
    findings.tables |= {f"robustness_{name}": table for name, table in seen.items()}
    recipe = shortened(recipe, options.course_epochs or recipe.epochs)
    recipe = replace(recipe, **PLAIN)
    steps = recipe.epochs * (len(subject.dataset.train_images) // recipe.batch_size)
    plan = Plan(recipe, measure_every=max(1, steps // READINGS))
    courses = list(study(plan, subject.dataset, train=options.course_epochs > 0))
    findings.tables["gradients"] = study_arrays(courses)
    findings.facts["gradients"] = study_facts(plan, subject.dataset, courses)
    _add_curves(findings, curves, names, subject.dataset)
    return Findings(finite(findings.facts), findings.tables)


def _loops_and_errors(answers: Answers) -> tuple[np.ndarray, np.ndarray]:
    return answers.loops, answers.wrong


def _facts(folder: Path, recipe: Recipe, dataset: Dataset, answers: Answers) -> dict:
    return {
        "run": folder.resolve().name,
        "model": recipe.model,
        "weights": fingerprint(folder)[:12],
        "trained": trained_in(folder),
        "analysed": environment(dataset.test_images.device),
        "dataset": dataset.name,
        "classes": list(dataset.classes),
        "images": len(answers.labels),
        "tested_on": tested_images(recipe.held_out),
        "accuracy": float(1 - answers.wrong.mean()),
        "target_rate": answers.target_rate,
        "max_macs": answers.max_macs,
        "left_out": {},
    }


def distinct(names: Sequence[str]) -> list[str]:
    """The same names, those that came before with their place behind.

    Example:
        >>> distinct(["run", "other", "run"])
        ['run', 'other', 'run (3)']
    """
    found: list[str] = []
    for place, name in enumerate(names, 1):
        while name in found:
            name = f"{name} ({place})"
        found.append(name)
    return found


def num_classes_of(folder: Path, dataset: Dataset) -> int:
    """K of a run, whose data need not be here: as its weights tell, or that of ``dataset`` before there are any.

    Raises:
        ValueError: damaged weights.
    """
    if not (folder / WEIGHTS).is_file():
        return len(dataset.classes)
    return len(read_weights(folder / WEIGHTS)["fc.bias"])


def trained_in(folder: Path) -> dict:
    """The surroundings a run was trained in, as far as its folder tells; of a released one, the card's commit.

    Raises:
        ValueError: a damaged file.
    """
    if (folder / SUMMARY).is_file():
        return run_summary(folder).get("environment", {})
    if (folder / ENVIRONMENT).is_file():
        return run_environment(folder)
    return {"commit": _commit_on(folder / CARD)} if (folder / CARD).is_file() else {}


def _commit_on(card: Path) -> str | None:
    try:
        return json.loads(card.read_text(encoding="utf-8")).get("commit")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{card} is damaged: {error}") from error


def _add_loops(findings: Findings, answers: Answers) -> None:
    found = loop_histogram(answers.loops, answers.slots, answers.target_rate)
    images = found.pop("images")
    findings.facts["loops"] = found
    findings.tables |= {
        "answers": answers.arrays(),
        "histogram": {"loops": np.arange(len(images)), "images": images},
        "by_class": loops_by_class(answers.loops, answers.labels, len(answers.classes)),
        "error_by_loops": error_by_loops(answers.loops, answers.wrong),
        "execution_map": execution_map(answers.executed, answers.arrived, answers.slots),
        "early_and_late": early_and_late(answers.loops, answers.confidence, answers.wrong),
    }


def _add_norms(findings: Findings, model: Classifier) -> None:
    statistics = norm_statistics(model)
    if statistics:
        findings.tables["norms"] = {key: value for entry in statistics for key, value in entry.arrays().items()}
    else:
        findings.facts["left_out"]["norms"] = "the network has no I-LVBN, so it keeps no statistics of skipped maps"


def _add_gallery(findings: Findings, answers: Answers, dataset: Dataset) -> None:
    easiest, hardest = galleries(answers, GALLERY)
    pixels = dataset.test_images.cpu().numpy()
    findings.tables["gallery"] = {
        "easiest": easiest, "hardest": hardest, "easiest_pixels": pixels[easiest], "hardest_pixels": pixels[hardest],
    }  # fmt: skip


def _add_agreement(findings: Findings, answers: Answers, others: Sequence[Subject], names: Sequence[str]) -> None:
    if not others:
        findings.facts["left_out"]["agreement"] = "one run given; add runs of the same recipe with other seeds"
        return
    pairs = seed_agreement([answers.loops, *(subject.ask().loops for subject in others)])
    findings.facts["agreement"] = [{**p, "first": names[p["first"]], "second": names[p["second"]]} for p in pairs]


def origin(folder: Path) -> str:
    """What a run's log is of."""
    recipe = read_recipe(folder)
    images, tested = recipe.train_images or "all", tested_images(recipe.held_out)
    commit = trained_in(folder).get("commit") or "unknown"
    changed = RECURSIONS.get((recipe.gate, recipe.norm), "")
    return f"{recipe.model}{changed}, {recipe.dataset}, {images} training images, tested on {tested}, commit {commit}"


def _add_curves(findings: Findings, logs: list[tuple[Curves, str]], names: Sequence[str], dataset: Dataset) -> None:
    """Logs of the runs, by their names, and of the variants where these were trained."""
    here, marks = f"without gates, {dataset.name}, {len(dataset.train_images)} training images, here", {}
    variants = [(curve, here) for curve in curves_of_study(findings.facts["gradients"])]
    names = distinct([*names, *(curve.name for curve, _ in variants)])
    for name, (curve, source) in zip(names, logs + variants, strict=True):
        findings.tables[f"curves_{name}"] = curve.columns
        marks[name] = {**curve.marks, "from": source}
    findings.facts["curves"] = marks
