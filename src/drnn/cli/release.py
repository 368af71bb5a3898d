"""``drnn release RUN FOLDER``."""

from pathlib import Path

from jsonargparse import ArgumentParser

from drnn.budgets.budget import BUDGET
from drnn.reproduce.release import release


def run(argv: list[str]) -> None:
    """Make a folder to give away of a finished run."""
    parser = ArgumentParser(
        prog="drnn release",
        description="A finished run as a folder to give away: weights with a card, recipe, metrics and budget, no "
        "checkpoints. drnn.from_pretrained opens it, Hugging Face's hub takes it as it is, and drnn eval, predict, "
        "analyze and export work on it. The weights are evaluated again for the card.",
    )
    parser.add_argument("run", type=str, help="the folder of a finished run")
    parser.add_argument("folder", type=str, help="where to write")
    parser.add_argument("--data_root", type=str, default=None, help="where the data set is now, if it has moved")
    parser.add_argument("--license", type=str, default="apache-2.0", help="of the weights")
    parser.add_argument(
        "--average", action="store_true",
        help="the moving average of the weights instead of the last, of a run that has one",
    )  # fmt: skip
    options = parser.parse_args(argv)
    if not options.folder:
        raise ValueError("an empty name received for the release; name the folder to write")
    source, folder = Path(options.run), Path(options.folder)
    card = release(source, folder, options.data_root, options.license, options.average)
    kind = ", a moving average of the weights" if options.average else ""
    tested = f"test error {card.error_text} on {card.dataset}"
    print(f"{options.folder}: {card.name}{kind}, {tested}, {card.params:,} parameters")
    if (source / BUDGET).is_file() and not (folder / BUDGET).is_file():
        why = "it is of the last weights" if options.average else "it is damaged or of other weights"
        print(f"{BUDGET} of {options.run} is left out: {why}; drnn calibrate {options.folder} makes one")
