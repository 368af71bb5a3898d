"""What is known of a set of weights, as data and as the README of a Hugging Face repository."""

import math
import re
from dataclasses import dataclass, field, replace
from typing import TypeGuard

import yaml

from drnn.core import Gate, RecursiveBlock
from drnn.costs import count_costs, count_params
from drnn.models import Classifier
from drnn.models.aig import AdaptiveBlock

LIBRARY = "library_name: drnn"  # in the header of every README from here
# what Markdown could take for more than text, and underscores unless they join words
MARKUP = re.compile(r"[\\`*\[\]<>|&~$]|(?<![^\W_])_|_(?![^\W_])")
KINDS = {  # what is told of a network, by what its blocks and gates can do
    "dynamic": "A network whose blocks loop, and stop where the image is easy.",
    "recursive": "A network whose blocks loop, as often for every image: every image costs the same.",
    "skipping": "A network whose blocks run once, or not at all where the image does not need them.",
    "static": "A network without loops to leave: every image costs the same.",
}


@dataclass(frozen=True)
class Card:
    """What a user must know of weights; None where nothing was measured.

    Attributes:
        name: of the network.
        params: trainable numbers.
        max_macs: multiply-adds of an image that executes every loop.
        mean_macs: of the images of the test.
        loops_histogram: images of the test that took 0, 1, ... loops.
        recipe: what it was trained by.
        commit: of the code.
        dataset: it was trained and tested on.
        error: shares of wrong answers on the test, one for each seed.
        license: of the weights.
        kind: of the network, a key of `KINDS`; None where nobody said.

    Raises:
        ValueError: numbers that are not plain and finite, or impossible, or text that is none.
    """

    name: str
    params: int
    max_macs: int
    mean_macs: float | None = None
    loops_histogram: list[int] = field(default_factory=list)
    recipe: str | None = None
    commit: str | None = None
    dataset: str | None = None
    error: list[float] = field(default_factory=list)
    license: str = "apache-2.0"
    kind: str | None = None

    def __post_init__(self):
        for name, fits, wanted in (
            ("params", _is_count, "a plain whole number, 0 or more"),
            ("max_macs", _is_count, "a plain whole number, 0 or more"),
            ("mean_macs", _is_mean, "a plain, finite number, 0 or more"),
        ):
            if not fits(value := getattr(self, name)):
                raise ValueError(f"the card's {name} {value!r} received; give {wanted}")
        for name, fits, wanted in (
            ("loops_histogram", _is_count, "plain whole numbers, 0 or more"),
            ("error", _is_share, "plain, finite shares in 0..1, one a seed"),
        ):
            values = getattr(self, name)
            if not isinstance(values, list | tuple) or not all(map(fits, values)):
                raise ValueError(f"the card's {name} {values!r} received; give a list of {wanted}")
            object.__setattr__(self, name, list(values))
        for name in ("name", "recipe", "commit", "dataset", "license"):
            value = getattr(self, name)
            if not isinstance(value, str) and (value is not None or name in ("name", "license")):
                raise ValueError(f"the card's {name} {value!r} received; give text")
        if self.kind not in (None, *KINDS):
            raise ValueError(f"the card's kind {self.kind!r} received; give None or one of {', '.join(KINDS)}")

    @classmethod
    def of(cls, model: Classifier, **known) -> "Card":
        """What the network itself tells, and what else is known."""
        counted = count_costs(model)
        told = {"params": count_params(model), "max_macs": counted.max_macs, "kind": _kind_of(model)}
        return cls(name=model.name, **told, **known)

    @property
    def error_text(self) -> str:
        """Mean, spread and number of runs."""
        if not self.error:
            return "not measured"
        count, mean = len(self.error), sum(self.error) / len(self.error)
        if count == 1:
            return f"{mean:.2%} (n = 1)"
        spread = (sum((value - mean) ** 2 for value in self.error) / (count - 1)) ** 0.5
        return f"{mean:.2%} +- {spread:.2%} (n = {count}, standard deviation)"


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_mean(value: object) -> bool:
    return value is None or (_is_plain(value) and 0 <= value < math.inf)


def _is_share(value: object) -> bool:
    return _is_plain(value) and 0 <= value <= 1


def _is_plain(value: object) -> TypeGuard[float]:
    return type(value) in (int, float)


def _kind_of(model: Classifier) -> str:
    """The word of `KINDS` for it; one gate that can stop a loop is enough for "dynamic"."""
    looping = [block for block in model.modules() if isinstance(block, RecursiveBlock)]
    if any(isinstance(block.gate, Gate) for block in looping):
        return "dynamic"
    if any(isinstance(block, AdaptiveBlock) for block in model.modules()):
        return "skipping"
    return "recursive" if looping else "static"


def with_kind(card: Card, model: Classifier) -> Card:
    """The card with the model's kind where it has none, as older ones.

    Raises:
        ValueError: it has another.
    """
    kind = _kind_of(model)
    if card.kind not in (None, kind):
        raise ValueError(
            f"a card of kind {card.kind!r} received for {model.name}, which is {kind!r}; Card.of makes one"
        )
    return replace(card, kind=kind)


def readme(card: Card) -> str:
    """The card as a README with the hub's header."""
    header = {
        "library_name": "drnn",
        "license": one_line(card.license),
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "dynamic-recursive-network"],
    }
    mean = "not measured" if card.mean_macs is None else f"{card.mean_macs / 1e6:.2f} M"
    rows = [
        ("test error", card.error_text),
        ("data set", card.dataset or "not given"),
        ("recipe", card.recipe or "not given"),
        ("commit", card.commit or "not given"),
        ("parameters", f"{card.params:,}"),
        ("multiply-adds an image, most", f"{card.max_macs / 1e6:.2f} M"),
        ("multiply-adds an image, mean of the test", mean),
        ("images by loops taken (0, 1, ...)", " ".join(map(str, card.loops_histogram)) or "not measured"),
    ]
    table = ["| | |", "| --- | --- |", *(f"| {title} | {escaped(value)} |" for title, value in rows)]
    use = ["```python", "import drnn", "", 'model = drnn.from_pretrained("this folder or repository")', "```"]
    body = [
        f"# {escaped(card.name)}",
        "",
        KINDS[card.kind] if card.kind else "An image classifier of drnn.",
        "",
        *table,
        "",
        *use,
    ]
    text = yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=math.inf)
    return "\n".join([f"---\n{text}---", "", *body]) + "\n"


def one_line(text: str) -> str:
    """Text without line ends and control characters."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def escaped(text: str) -> str:
    """Text as a cell of a Markdown table that shows nothing but it."""
    return MARKUP.sub(lambda found: f"&#{ord(found.group())};", one_line(text))
