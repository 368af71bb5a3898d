"""Our networks under their names in timm's registry: ``timm.create_model("dr_resnet53", features_only=True)``.

Nothing here imports timm until `register` is called, which `drnn` does when somebody imports timm.
"""

import warnings
from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from drnn.models import list_models, model_spec
from drnn.models.mobilenetv2 import HEAD_WIDTH, MobileNetV2, MobileNetV2Spec
from drnn.models.preprocessing import SMALL, TEST_RESIZE
from drnn.models.registry import Spec, Staged, spec_for
from drnn.models.resnet import ResNet, ResNetSpec
from drnn.weights.preprocessing import usual_preprocessing
from drnn.weights.timm_methods import TimmMethods, refuse_pool

OLDEST = "1.0.26"  # timm that the extra asks for
default_cfgs: dict = {}  # timm looks for this name


class TimmResNet(TimmMethods, ResNet):
    """A ResNet of ours that timm can handle."""


class TimmMobileNetV2(TimmMethods, MobileNetV2):
    """A MobileNetV2 of ours that timm can handle."""

    def __init__(self, spec: MobileNetV2Spec):
        super().__init__(spec)
        self.num_features = HEAD_WIDTH

    def forward_features(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to the last convolution's output, as timm's own has it."""
        return self.widened(super().forward_features(x))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The last convolution's output to logits ``(N, K)``, or to what the classifier reads."""
        read = self.averaged(x)
        return read if pre_logits else self.fc(read)


def build(
    name: str,
    num_classes: int | None = None,
    in_chans: int | None = None,
    img_size: int | Sequence[int] | None = None,
    drop_rate: float | None = None,
    drop_path_rate: float = 0.0,
    drop_block_rate: float = 0.0,
    global_pool: str | None = None,
    **overrides,
) -> TimmMethods:
    """The network of that name as timm wants it; ``num_classes=0`` leaves the classifier out.

    Args:
        name: one of `staged_specs`.
        num_classes: K.
        in_chans: C.
        img_size: H and W, or one number for both.
        drop_rate: of the dropout before the classifier, which MobileNetV2 has; else 0.
        drop_path_rate: 0.
        drop_block_rate: 0.
        global_pool: "avg".
        overrides: other fields of the specification.

    Raises:
        ValueError: an option that the network does not have.
    """
    if img_size is not None:
        overrides["input_size"] = (model_spec(name).input_size[0], *_height_and_width(img_size))
    spec = spec_for(name, num_classes or None, in_chans, **overrides)
    assert isinstance(spec, Staged), "what has no stages is not registered"
    model = TimmResNet(spec) if isinstance(spec, ResNetSpec) else TimmMobileNetV2(spec)
    model.name = name
    refuse_pool(name, global_pool)
    for option, rate in (("drop_path_rate", drop_path_rate), ("drop_block_rate", drop_block_rate)):
        if rate:
            raise ValueError(f"{option}={rate!r} received; {name} has no stochastic depth or dropped blocks to set")
    if isinstance(model, TimmMobileNetV2) and drop_rate is not None:
        model.dropout = nn.Dropout(drop_rate)
    elif drop_rate:
        raise ValueError(f"drop_rate={drop_rate!r} received; {name} has no dropout")
    if num_classes == 0:
        model.reset_classifier(0)
    return model


def _height_and_width(img_size: int | Sequence[int]) -> tuple[int, ...]:
    sides = (img_size,) * 2 if isinstance(img_size, int) else tuple(img_size)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise ValueError(f"img_size={img_size!r} received; give pixels, or (height, width)")
    return sides


def staged_specs() -> dict[str, Staged]:
    """The networks that have stages, by name: all but RCNN and those of a kind of one's own."""
    specs = {name: model_spec(name) for name in list_models()}
    return {name: spec for name, spec in specs.items() if isinstance(spec, Staged)}


def register() -> None:
    """Give timm every network it does not already have by that name; its own resnet50 stays its own.

    A timm without what that takes stays as it is, with a warning: whoever imports it may not ask for our networks.
    """
    try:
        from timm.models import generate_default_cfgs, is_model, register_model
    except ImportError as error:
        warnings.warn(f"timm does not get drnn's networks ({error}); that needs timm {OLDEST} or later", stacklevel=2)
        return
    specs = {name: spec for name, spec in staged_specs().items() if not is_model(name)}
    default_cfgs.update(generate_default_cfgs({name: _config(spec) for name, spec in specs.items()}))
    for name, spec in specs.items():
        register_model(_entrypoint(name, len(spec.blocks)))


def _config(spec: Spec) -> dict:
    usual = usual_preprocessing(spec.input_size)
    return {
        "url": "", "num_classes": spec.num_classes, "input_size": spec.input_size, "mean": usual.mean, "std": usual.std,
        "interpolation": "bilinear", "crop_mode": "squash",
        "crop_pct": 1.0 if min(spec.input_size[1:]) <= SMALL else 1 / TEST_RESIZE,
        "first_conv": "conv1", "classifier": "fc", "license": "apache-2.0",
    }  # fmt: skip


def _entrypoint(name: str, stages: int):
    def create(pretrained: bool = False, **options):
        from timm.models import build_model_with_cfg

        if (given := options.pop("feature_cls", None)) not in (None, "getter"):
            raise ValueError(f"feature_cls={given!r} received; {name} gives the right features through 'getter' only")
        features = {"out_indices": tuple(range(stages)), "feature_cls": "getter"}
        return build_model_with_cfg(partial(build, name), name, pretrained, feature_cfg=features, **options)

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f"drnn's {name}."
    return create
