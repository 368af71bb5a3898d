"""Every network of Tables 1-3 by name, each a line of data."""

from dataclasses import fields, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import partial
from numbers import Integral, Real

import torch

from drnn.core import RecursiveBlock
from drnn.models.classifier import Classifier, NetworkSpec
from drnn.models.mobilenetv2 import MobileNetV2Spec
from drnn.models.rcnn import RCNNSpec
from drnn.models.resnet import ResNetSpec

Staged = ResNetSpec | MobileNetV2Spec  # tell by blocks and loops of their stages what there is
Spec = NetworkSpec  # these, `RCNNSpec`, or of a kind of one's own

dr_cifar = partial(ResNetSpec, target_rate=0.7)
imagenet = partial(ResNetSpec, body="bottleneck", stem="imagenet", width=64, input_size=(3, 224, 224), num_classes=1000)
digits = partial(ResNetSpec, width=32, input_size=(1, 8, 8))

MODELS: dict[str, Spec] = {
    # Table 1, CIFAR-10
    "resnet16_cifar": ResNetSpec((3, 2, 2)),  # not in the paper: what DR-ResNet 16 is without loops
    "resnet20_cifar": ResNetSpec((3, 3, 3)),
    "resnet56_cifar": ResNetSpec((9, 9, 9)),
    "resnet110_cifar": ResNetSpec((18, 18, 18)),
    "preresnet110_cifar": ResNetSpec((18, 18, 18), body="preact"),
    "sd_resnet110_cifar": ResNetSpec((18, 18, 18), residual="stochastic"),
    "aig_resnet110_cifar": ResNetSpec((18, 18, 18), residual="aig", target_rate=0.7),
    "rcnn160_cifar": RCNNSpec(160),
    "dr_resnet16_cifar": dr_cifar((3, 2, 2), (1, 2, 2)),
    "dr_resnet32_cifar": dr_cifar((9, 3, 3), (1, 4, 4)),
    "dr_resnet40_cifar": dr_cifar((9, 5, 5), (1, 2, 2)),
    "dr_resnet54_cifar": dr_cifar((18, 4, 4), (1, 5, 5)),
    "dr_resnet58_cifar": dr_cifar((18, 5, 5), (1, 4, 4)),
    "dr_resnet66_cifar": dr_cifar((18, 7, 7), (1, 3, 3)),
    "dr_resnet74_cifar": dr_cifar((18, 9, 9), (1, 2, 2)),
    # Table 2, ImageNet
    "resnet50": imagenet((3, 4, 6, 3)),
    "resnet101": imagenet((3, 4, 23, 3)),
    "sd_resnet50": imagenet((3, 4, 6, 3), residual="stochastic"),
    "sd_resnet101": imagenet((3, 4, 23, 3), residual="stochastic"),
    "aig_resnet50": imagenet((3, 4, 6, 3), residual="aig", target_rate=0.7),
    "aig_resnet101": imagenet((3, 4, 23, 3), residual="aig", target_rate=0.5),
    "mobilenetv2": MobileNetV2Spec((1, 2, 3, 4, 3, 3, 1)),
    "dr_resnet35": imagenet((3, 3, 3, 2), (1, 2, 2, 2), target_rate=0.8),
    "dr_resnet44": imagenet((3, 4, 5, 2), (1, 1, 5, 2), target_rate=0.7),
    "dr_resnet47": imagenet((3, 4, 6, 2), (1, 1, 4, 2), target_rate=0.7),
    "dr_resnet53": imagenet((3, 4, 8, 2), (1, 1, 3, 2), target_rate=0.7),
    "dr_resnet65": imagenet((3, 4, 12, 2), (1, 1, 2, 2), target_rate=0.7),
    "dr_mobilenetv2": MobileNetV2Spec((1, 2, 2, 2, 2, 2, 1), (1, 1, 2, 3, 2, 2, 1), target_rate=0.9),
    # Table 3, ablation
    "r_resnet53_naive": imagenet((3, 4, 8, 2), (1, 1, 3, 2), norm="shared", gate=None),
    "r_resnet53_lvbn": imagenet((3, 4, 8, 2), (1, 1, 3, 2), norm="lvbn", gate=None),
    "dr_resnet53_lvbn": imagenet((3, 4, 8, 2), (1, 1, 3, 2), norm="lvbn", target_rate=0.7),
    # The embedded default job: scikit-learn's handwritten digits
    "resnet_digits": digits((1, 7)),
    "dr_resnet_digits": digits((1, 3), (1, 3), target_rate=0.7),
}


def list_models(pattern: str = "*") -> list[str]:
    """Names that match a shell-style pattern, sorted.

    Example:
        >>> list_models("dr_resnet5*")
        ['dr_resnet53', 'dr_resnet53_lvbn', 'dr_resnet54_cifar', 'dr_resnet58_cifar']
    """
    return sorted(name for name in MODELS if fnmatchcase(name, pattern))


def model_spec(name: str) -> Spec:
    """The line of data behind a name.

    Raises:
        ValueError: no such name; the message has the nearest ones.
    """
    if name not in MODELS:
        near = get_close_matches(name, MODELS, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "drnn.list_models() lists all names."
        raise ValueError(f"there is no model {name!r}; {hint}")
    return MODELS[name]


def create_model(name: str, num_classes: int | None = None, in_chans: int | None = None, **overrides) -> Classifier:
    """Build a network by name, freshly initialised.

    Args:
        name: one of `list_models`.
        num_classes: K; the data set's of its table by default.
        in_chans: C; the data set's of its table by default.
        overrides: any other field of the name's specification, such as ``stride_in_3x3=True`` for torchvision's
            weights, ``norm="lvbn"``, ``gate_noise="training"``, ``target_rate=0.6``.

    Raises:
        ValueError: unknown name or field, a value that does not fit, or a part of recursive blocks where none loops.

    Example:
        >>> model = create_model("dr_resnet16_cifar", num_classes=100)
        >>> model.num_classes, model.target_rate
        (100, 0.7)
    """
    model = spec_for(name, num_classes, in_chans, **overrides).build()
    model.name = name
    return model


def spec_for(name: str, num_classes: int | None = None, in_chans: int | None = None, **overrides) -> Spec:
    """The specification that `create_model` builds from.

    Lists are taken for tuples. Without gates (``gate=None``, or loops of 1) a network loses its line's target rate.

    Raises:
        ValueError: as there.
    """
    spec = model_spec(name)
    known = {field.name for field in fields(spec)}
    if "pretrained" in overrides:
        raise ValueError(
            f"pretrained received; drnn.from_pretrained(folder) opens trained weights, {name} begins fresh"
        )
    if unknown := overrides.keys() - known:
        raise ValueError(f"{name} has no field {', '.join(sorted(unknown))}; its fields are {', '.join(sorted(known))}")
    given = {field: tuple(value) if isinstance(value, list) else value for field, value in overrides.items()}
    if num_classes is not None:
        given["num_classes"] = num_classes
    if in_chans is not None and isinstance(size := given.get("input_size", spec.input_size), tuple):
        given["input_size"] = (in_chans, *size[1:])
    _check_sizes(given, spec)
    given = {field: _plain(value) for field, value in given.items()}
    asked = replace(spec, **given)
    _check_parts_have_a_place(asked, name, given)
    return _with_target(asked, name, "target_rate" in given)


def _check_parts_have_a_place(spec: Spec, name: str, given: dict) -> None:
    """ValueError for parts of recursive blocks that were given where no block loops, or asks no gate."""
    if given.get("stride_in_3x3") and getattr(spec, "body", None) != "bottleneck":
        raise ValueError(
            f"stride_in_3x3 True received; only bottlenecks have one, and this {name} has others: leave it out"
        )
    idle, why = _idle_parts(spec)
    for field in idle:
        if given.get(field) is not None:
            raise ValueError(f"{field} {given[field]!r} received; {why.format(name)}, so leave it out")


def telling_fields(spec: Spec) -> set[str]:
    """Fields of a specification that say something of its network: not those of parts that it has nowhere."""
    return {field.name for field in fields(spec)} - {*_idle_parts(spec)[0]}


def _idle_parts(spec: Spec) -> tuple[tuple[str, ...], str]:
    """Fields of parts of recursive blocks that change nothing of a network, and why, of its name."""
    if not has_loops(spec):
        return ("norm", "gate", "gate_noise"), "no block of this {} loops and would have it"
    if getattr(spec, "gate", None) is None:
        return ("gate_noise",), "this {} has no gates"
    return (), ""


def has_loops(spec: Spec) -> bool:
    """Whether a block runs more than once: of a stage that loops, all but the first do."""
    if isinstance(spec, Staged):
        stages = zip(spec.blocks, spec.loops, strict=False)  # no loops, or as many as blocks
        return any(count > 1 and times > 1 for count, times in stages)
    with torch.device("meta"):  # of a kind of one's own only its network can tell
        return any(isinstance(block, RecursiveBlock) for block in spec.build().modules())


def _check_sizes(given: dict, own: Spec) -> None:
    """ValueError for anything but whole numbers, 1 or more, or True and False, where the line ``own`` has them."""
    for field, value in given.items():
        many, one = (type(getattr(own, field)) is kind for kind in (tuple, int))
        numbers = value if many else (value,)
        sizes = isinstance(numbers, tuple) and all(map(_is_size, numbers)) and (numbers or field != "blocks")
        if (many or one) and not sizes:
            wanted = "whole numbers" if many else "a whole number"
            raise ValueError(f"{field} {value!r} received; give {wanted}, 1 or more")
        if type(getattr(own, field)) is bool and not isinstance(value, bool):
            raise ValueError(f"{field} {value!r} received; give True or False")
    if len(size := given.get("input_size", own.input_size)) != 3:
        raise ValueError(f"input_size {size} received; give (C, H, W)")


def _plain(value: object) -> object:
    """Whole numbers of numpy and others as Python's, which a card can hold."""
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else value


def _is_size(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def _with_target(spec: Spec, name: str, given: bool) -> Spec:
    """``spec`` without its line's target rate where other fields leave no gates; ValueError for one that was given."""
    rate = spec.target_rate
    if rate is None:
        return spec
    if not (isinstance(rate, Real) and 0 <= rate <= 1):
        raise ValueError(f"target_rate {rate!r} received; a rate lies between 0 and 1")
    if not isinstance(spec, Staged):
        return spec
    if (spec.gate is not None and has_loops(spec)) or (isinstance(spec, ResNetSpec) and spec.residual == "aig"):
        return spec
    if given:
        raise ValueError(f"target_rate {rate} received; this {name} has no gates to hold to it, so leave it out")
    return replace(spec, target_rate=None)
