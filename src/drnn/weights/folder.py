"""A network as a folder anybody can open: safetensors, how to build it, a card; laid out as Hugging Face's hub does."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import takewhile
from pathlib import Path

import torch
from safetensors.torch import save_file

from drnn.costs import count_params
from drnn.models import Classifier, Preprocessing
from drnn.models.refusals import refuse_other_models
from drnn.storage import Write, json_text, text_writer, write_together
from drnn.weights.card import LIBRARY, Card, readme, with_kind
from drnn.weights.config import describe, read_config
from drnn.weights.files import WEIGHTS, check_fit, read_weights

CONFIG, CARD, README = "config.json", "card.json", "README.md"


def save_pretrained(
    model: Classifier,
    folder: str | Path,
    preprocessing: Preprocessing | None = None,
    card: Card | None = None,
    classes: Sequence[str] | None = None,
) -> None:
    """Write a folder that `from_pretrained` opens, and that ``hf upload`` publishes as it is.

    Args:
        model: a network of `create_model`; its gates' thresholds are kept too.
        folder: made where it is missing. A README.md there whose header lacks ``library_name: drnn`` is somebody's
            own: it stays, and none is written.
        preprocessing: the model's own by default, or the usual one of its name and size.
        card: what is known of it; without one the card has only what the network itself tells.
        classes: names of the K answers; the model's own by default, unless its last layer has another number.

    Raises:
        TypeError: not a network of `drnn.models`; of one inside a wrapper, give that.
        OSError: the disk is full, the folder is read-only, ...; what an older folder holds stays as it was.
        ValueError: a network that would not come back the same: one without a name to build it by, changed by hand, of
            another precision than float32, or optimised; or a card, preprocessing or classes of another. Nothing is
            written then.
    """
    files = pretrained_files(Path(folder), model, preprocessing, card, classes)
    write_together({Path(folder) / name: write for name, write in files.items()})


def pretrained_files(
    folder: Path,
    model: Classifier,
    preprocessing: Preprocessing | None = None,
    card: Card | None = None,
    classes: Sequence[str] | None = None,
) -> dict[str, Write]:
    """What writes each file of ``folder``; the arguments and errors are those of `save_pretrained`."""
    refuse_other_models(model, "save_pretrained")
    config, card = describe(model, preprocessing, classes), card or Card.of(model)
    _check_card(card, model)
    card = with_kind(card, model)
    texts = {CONFIG: config.to_json(), CARD: json_text(asdict(card))}
    if not _is_foreign(folder / README):
        texts[README] = readme(card)
    state = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in model.state_dict().items()}
    weights = {WEIGHTS: lambda part: save_file(state, part, metadata={"format": "pt"})}
    return {**weights, **{name: text_writer(text) for name, text in texts.items()}}


def _is_foreign(path: Path) -> bool:
    """Whether it is a README that no `readme` began."""
    if not path.is_file():
        return False
    first, *lines = path.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
    header = takewhile(lambda line: line != "---", lines) if first == "---" else ()
    return LIBRARY not in header


def _check_card(card: Card, model: Classifier) -> None:
    params = count_params(model)
    if (card.name, card.params) != (model.name, params):
        raise ValueError(
            f"a card of {card.name} with {card.params:,} parameters received for {model.name} with {params:,}; "
            "Card.of(model) makes one"
        )


def from_pretrained(source: str | Path, revision: str | None = None) -> Classifier:
    """The network of a local folder, or of a repository on Hugging Face's hub, in evaluation mode.

    Its gates are at the thresholds it was saved with, its ``preprocessing`` and ``classes`` are those of the folder.

    Args:
        source: a folder of `save_pretrained`, which needs no network; or ``owner/name``.
        revision: of the repository.

    Raises:
        FileNotFoundError: a folder without the files, or no such repository.
        ValueError: damaged files, or a file's own name.
    """
    if Path(source).is_file():
        raise ValueError(f"{source} is a file; give its folder, {str(Path(source).parent)!r}")
    folder = Path(source) if Path(source).is_dir() else _download(str(source), revision)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} has no {name}; drnn.save_pretrained writes such a folder")
    config, weights = read_config(folder / CONFIG), read_weights(folder / WEIGHTS)
    check_fit(config.on_meta(), weights, str(folder / WEIGHTS))  # before memory is taken for what fits nothing
    with torch.random.fork_rng(devices=[]):  # its initial values are of no use
        model = config.build()
    model.load_state_dict(weights)
    return model.eval()


def _download(repository: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=[CONFIG, WEIGHTS, CARD, README]))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise FileNotFoundError(
            f"{repository} is no local folder, and no repository that can be reached: {str(error).splitlines()[0]}"
        ) from error
