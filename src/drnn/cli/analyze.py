"""``drnn analyze RUN [RUN ...]`` and ``drnn analyze gradients MODEL``."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jsonargparse import ArgumentParser

from drnn.analysis.figures import draw, draw_study
from drnn.analysis.findings import ARRAYS, FACTS
from drnn.analysis.gradients import Plan, first_images, load_study, save_study, study
from drnn.analysis.gradients.study import ARRAYS as STUDY_ARRAYS
from drnn.analysis.gradients.study import FACTS as STUDY_FACTS
from drnn.analysis.gradients.study import noise_dataset
from drnn.analysis.gradients.variants import PLAIN
from drnn.analysis.report import FIGURES, REPORT, run_facts, study_rows, write_report
from drnn.analysis.runs import Options, analyse_run
from drnn.data import load_dataset
from drnn.drawing import refuse_picture
from drnn.storage import refuse_place
from drnn.training import Recipe, find_recipe
from drnn.training.distributed import choose_device
from drnn.training.schedule import shortened


def run(argv: list[str]) -> None:
    """Analyse a run, or the gradients of an untrained network."""
    if argv[:1] == ["gradients"]:
        gradients(argv[1:])
    else:
        runs(argv)


def runs(argv: list[str]) -> None:
    """What the gates of a run learnt: arrays, figures, one report."""
    options = runs_parser().parse_args(argv)
    first, *others = map(Path, options.run)
    device = str(choose_device(options.device))
    looking = Options(options.images, options.data_root, tuple(map(Path, options.logs)), options.course_epochs, device)
    folder = Path(options.out or first / "analysis")
    _refuse(folder, (FACTS, f"{ARRAYS}/answers.npz"), options.figures)
    findings = analyse_run(first, others, looking)
    findings.save(folder)
    if options.figures:
        facts = findings.facts
        title = f"What {facts['run']} learnt ({facts['model']} on {facts['dataset']})"
        report = write_report(folder, title, run_facts(facts), draw(findings))
        print(f"Report: {report.resolve().as_uri()}")
    print(f"Arrays in {folder / ARRAYS}")


def _refuse(folder: Path, files: Sequence[str], figures: bool) -> None:
    """Before long work: whether the results can be written into ``folder``, and drawn where they shall be."""
    for name in (*files, *((REPORT,) if figures else ())):
        refuse_place(folder / name)
    if figures:
        refuse_picture(folder / FIGURES / "any.png")


def runs_parser() -> ArgumentParser:
    """Options of ``drnn analyze RUN``."""
    parser = ArgumentParser(
        prog="drnn analyze",
        description="What the gates of a run learnt: a folder of arrays (npz, CSV, JSON), figures made from these "
        "alone (PNG, SVG), and report.html, one file that opens from disk. drnn analyze gradients MODEL --help: the "
        "gradient analysis of an untrained network.",
    )
    parser.add_argument("run", type=str, nargs="+", help="the folder of a finished run; then others of its network")
    parser.add_argument("--data_root", type=str | None, default=None, help="where the data set is now, if it has moved")
    parser.add_argument("--images", type=int, default=0, help="look at so many test images; 0 for all")
    parser.add_argument("--logs", type=list[str], default=[], help="further run folders whose curves to draw")
    parser.add_argument(
        "--course_epochs", type=int, default=0,
        help="train naive recursion, LVBN and the unrolled network for so long and measure their gradients; 0 measures "
        "them untrained",
    )  # fmt: skip
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument("--figures", type=bool, default=True, help="false writes the arrays alone, without matplotlib")
    parser.add_argument("--out", type=str | None, default=None, help="folder for the results; RUN/analysis otherwise")
    return parser


def gradients(argv: list[str]) -> None:
    """Compare naive recursion, LVBN and the unrolled network."""
    options = gradients_parser().parse_args(argv)
    name = options.dataset
    if name == "noise" and options.epochs is not None:
        raise ValueError(f"--epochs {options.epochs} received without --dataset; choose digits or cifar10 to train on")
    base = find_recipe(options.recipe) if options.recipe else Recipe(padding=4 if name == "cifar10" else 1)
    for field in PLAIN:
        if value := getattr(base, field):
            raise ValueError(
                f"{field} {value} received in the recipe {options.recipe}; the networks compared have no gates and "
                "begin as they are: leave it out"
            )
    base = shortened(base, options.epochs or base.epochs)
    given = ("epochs", "batch_size", "lr", "seed")
    changed = {field: options[field] for field in given if options[field] is not None}
    recipe = replace(base, name="gradients", model=options.model, dataset=name, data_root=options.data_root, **changed)
    if name == "noise":
        dataset, train = noise_dataset(options.model, recipe.batch_size, recipe.seed), False
    else:
        dataset = first_images(load_dataset(name, options.data_root), options.train_images, options.test_images)
        train = options.epochs is not None
    plan = Plan(recipe, options.measure_every, options.overrides or {})
    folder, courses = Path(options.out or f"runs/gradients-{options.model}"), []
    _refuse(folder, (STUDY_FACTS, STUDY_ARRAYS), options.figures)
    for course in study(plan, dataset, train):
        courses.append(course)
        save_study(folder, plan, dataset, courses)  # each as soon as it is there: training takes long
    if options.figures:
        facts, arrays = load_study(folder)
        report = write_report(
            folder, f"Gradients of {options.model}", study_rows(facts), draw_study(facts, arrays, alone=True)
        )
        print(f"Report: {report.resolve().as_uri()}")
    print(f"Arrays in {folder}")


def gradients_parser() -> ArgumentParser:
    """Options of ``drnn analyze gradients``."""
    parser = ArgumentParser(
        prog="drnn analyze gradients",
        description="Gradient norms and gamma / sigma at every loop, for naive recursion, LVBN and the same depth "
        "without sharing; with --epochs also while each is trained, with the test error under several sets of "
        "normalising statistics.",
    )
    parser.add_argument("model", type=str, help="a network that loops; drnn models 'dr_*' lists them")
    parser.add_argument("--dataset", type=str, default="noise", help="noise, digits or cifar10")
    parser.add_argument("--data_root", type=str, default="data", help="folder of the data set's files")
    parser.add_argument("--recipe", type=str, default=None, help="optimiser, schedule and augmentation to train with")
    parser.add_argument("--epochs", type=int | None, default=None, help="train each for so long; initialisation alone")
    parser.add_argument("--batch_size", type=int | None, default=None, help="images a step; the recipe's otherwise")
    parser.add_argument("--lr", type=float | None, default=None, help="highest learning rate; the recipe's otherwise")
    parser.add_argument("--seed", type=int | None, default=None, help="of weights and order; the recipe's otherwise")
    parser.add_argument("--train_images", type=int, default=0, help="train on the first so many; 0 for all")
    parser.add_argument("--test_images", type=int, default=0, help="test on the first so many; 0 for all")
    parser.add_argument("--measure_every", type=int, default=10, help="steps between two readings of the gradients")
    parser.add_argument("--overrides", type=dict | None, default=None, help="fields of the network, as JSON")
    parser.add_argument("--figures", type=bool, default=True, help="false writes the arrays alone, without matplotlib")
    parser.add_argument(
        "--out", type=str | None, default=None, help="folder for the results; runs/gradients-MODEL otherwise"
    )
    return parser
