"""torchvision's and timm's names for the weights of the static networks they share with us."""

from pathlib import Path

from torch import Tensor

from drnn.core import RecursiveBlock
from drnn.models import Classifier
from drnn.models.mobilenetv2 import MobileNetV2
from drnn.models.refusals import refuse_other_models
from drnn.models.resnet import ResNet
from drnn.weights.files import are_weights, fill, read_weights, unwrapped

BLOCKS = (1, 2, 3, 4, 3, 3, 1)  # of MobileNetV2, a stage each
FIRST, OTHERS = ("conv2", "bn2", "conv3", "bn3"), ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3")


def load_foreign(model: Classifier, weights: dict[str, Tensor] | str | Path) -> Classifier:
    """Fill ``model`` with weights of torchvision's or timm's resnet50, resnet101 or MobileNetV2; returns it.

    Whose they are is told by their names. Their ResNets stride in the 3 x 3 convolution, so ours must be built with
    ``stride_in_3x3=True``: without it the shapes would fit and the answers be wrong. Older files do not count the
    batches that norms have seen; the network then keeps its own counts. Names do not tell networks that compute
    otherwise with the same layers: dilated ones of torchvision, timm's ``resnetaa50`` and ``resnetblur50``. Compare the
    answers for one image with those of the network that the weights are of.

    Args:
        model: ``resnet50``, ``resnet101`` or ``mobilenetv2``.
        weights: names and tensors, or a file that `drnn.weights.read_weights` opens.

    Raises:
        ValueError: a network they do not have, or weights that are damaged or do not fit.
        FileNotFoundError: no such file.

    Example:
        >>> import torchvision, drnn
        >>> theirs = torchvision.models.mobilenet_v2()
        >>> load_foreign(drnn.create_model("mobilenetv2"), theirs.state_dict()).name
        'mobilenetv2'
    """
    origin = "the state received"
    if isinstance(weights, str | Path):
        origin, weights = str(weights), read_weights(weights)
    refuse_other_models(model, "load_foreign")
    if any(isinstance(part, RecursiveBlock) for part in model.modules()):
        raise ValueError(
            f"{model.name} received, whose blocks loop, and torchvision's and timm's do not; fill a static network of "
            "the same stages, and let this one begin from that: drnn.weights.load_static(model, static)"
        )
    if not are_weights(weights):
        raise ValueError(f"{type(weights).__name__} received; give names with tensors, or the path of a file of them")
    weights = unwrapped(weights)
    if isinstance(model, MobileNetV2):
        names = torchvision_mobilenet() if "features.0.0.weight" in weights else timm_mobilenet()
    elif isinstance(model, ResNet) and model.spec.stem == "imagenet":
        names = {}  # the same
        if model.spec.body == "bottleneck" and not model.spec.stride_in_3x3:
            raise ValueError(
                f"{model.name} strides in the first 1 x 1 convolution, torchvision's and timm's in the 3 x 3; "
                "build it with stride_in_3x3=True"
            )
    else:
        raise ValueError(f"torchvision and timm have no {model.name}; give a resnet50, resnet101 or mobilenetv2")
    counts = {name: count for name, count in model.state_dict().items() if name.endswith(".num_batches_tracked")}
    fill(model, counts | {_renamed(name, names): tensor for name, tensor in weights.items()}, origin)
    return model


def _renamed(name: str, names: dict[str, str]) -> str:
    layer, _, entry = name.rpartition(".")
    return f"{names.get(layer, layer)}.{entry}"


def torchvision_mobilenet() -> dict[str, str]:
    """Layers of torchvision's ``mobilenet_v2`` by their names here."""
    names = {"features.0.0": "conv1", "features.0.1": "bn1", "features.18.0": "conv2", "features.18.1": "bn2"}
    names["classifier.1"] = "fc"
    first, others = ("0.0", "0.1", "1", "2"), ("0.0", "0.1", "1.0", "1.1", "2", "3")
    ours = [f"layer{stage + 1}.{block}" for stage, count in enumerate(BLOCKS) for block in range(count)]
    for number, block in enumerate(ours):
        layers = zip(others, OTHERS, strict=True) if number else zip(first, FIRST, strict=True)
        names |= {f"features.{number + 1}.conv.{theirs}": f"{block}.{layer}" for theirs, layer in layers}
    return names


def timm_mobilenet() -> dict[str, str]:
    """Layers of timm's ``mobilenetv2_100`` by their names here."""
    names = {"conv_stem": "conv1", "bn1": "bn1", "conv_head": "conv2", "bn2": "bn2", "classifier": "fc"}
    first, others = ("conv_dw", "bn1", "conv_pw", "bn2"), ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")
    for stage, count in enumerate(BLOCKS):
        for block in range(count):
            layers = zip(others, OTHERS, strict=True) if stage else zip(first, FIRST, strict=True)
            names |= {f"blocks.{stage}.{block}.{theirs}": f"layer{stage + 1}.{block}.{ours}" for theirs, ours in layers}
    return names
