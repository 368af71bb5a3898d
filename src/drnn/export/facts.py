"""What every exported file has: names of its inputs and outputs, and the facts it tells of its network."""

from drnn.export.network import ExportableNetwork, check_preprocessing
from drnn.models import Classifier, Preprocessing
from drnn.models.refusals import refuse_other_models
from drnn.weights.config import class_names
from drnn.weights.preprocessing import preprocessing_of

INPUT, THRESHOLDS, OUTPUTS = "images", "thresholds", ("logits", "loops", "macs")
ONNX_FACTS = ("model", "version", "form", "norms", "num_loops", "size", "mean", "std", "classes")  # others are not ours


def prepared(
    model: Classifier, preprocessing: Preprocessing | None, form: str, norms: str, any_size: bool
) -> tuple[ExportableNetwork, Preprocessing]:
    """A copy of ``model`` to export, in evaluation, and what its file says that images go through first.

    Args:
        model: the network; it is not changed.
        preprocessing: None for the model's own, or the usual one of its name and size.
        form: as `ExportableNetwork`.
        norms: likewise.
        any_size: whether the file takes any H and W.

    Raises:
        TypeError: not a `Classifier`.
        ValueError: a network or option that cannot be exported, or preprocessing for images of another kind.
    """
    refuse_other_models(model, "export")
    preprocessing = preprocessing or preprocessing_of(model)
    check_preprocessing(model, preprocessing, any_size)
    return ExportableNetwork(model, form, norms).eval(), preprocessing


def facts_of(network: ExportableNetwork, preprocessing: Preprocessing, **own) -> dict:
    """A file's metadata, plain values as JSON takes them; ``own`` is what one format alone tells."""
    return {
        "model": network.classifier.name, "form": network.form, "norms": network.norms, "num_loops": network.num_loops,
        **own, **preprocessing.to_dict(), "classes": class_names(network.classifier),
    }  # fmt: skip
