"""Our networks under their names in timm's registry: ``timm.create_model("dr_resnet53", features_only=True)``.

Nothing here imports timm until `register` is called, which `drnn` does when somebody imports timm.
"""

from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn

from drnn.models import Classifier, list_models, model_spec, set_dense
from drnn.models.mobilenetv2 import HEAD_WIDTH, MobileNetV2, MobileNetV2Spec
from drnn.models.registry import RCNNSpec, Spec, spec_for
from drnn.models.resnet import ResNet, ResNetSpec
from drnn.weights.preprocessing import Preprocessing

default_cfgs: dict = {}  # timm looks for this name


class TimmMethods(Classifier):
    """What timm expects of a model beyond ours. Names and shapes of all parameters stay the same. Abstract."""

    fc: nn.Module
    num_features: int

    @property
    def stage_names(self) -> list[str]:
        """``layer1``, ``layer2``, ..."""
        return [name for name, _ in self.named_children() if name.startswith("layer")]

    @property
    def feature_info(self) -> list[dict]:
        """Channels and reduction of what each stage gives, from a run without data."""
        twin, size = deepcopy(self).to("meta").eval(), self.input_size
        set_dense(twin)
        with torch.no_grad():
            _, maps = twin.forward_intermediates(torch.empty(1, *size, device="meta"))
        return [
            {"num_chs": part.shape[1], "reduction": size[1] // part.shape[2], "module": name}
            for name, part in zip(self.stage_names, maps, strict=True)
        ]

    def forward_features(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to the last stage's output."""
        x = self.stem(self._checked(x))
        for block in self.blocks():
            x = block(x)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The last stage's output to logits ``(N, K)``, or to what the classifier reads."""
        if not pre_logits:
            return self.head(x)
        classifier, self.fc = self.fc, nn.Identity()
        try:
            return self.head(x)
        finally:
            self.fc = classifier

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Outputs of the stages at ``indices``; a number takes the last so many, None all. See timm."""
        names = self.stage_names
        wanted = _wanted(indices, len(names))
        x, found = self.stem(self._checked(x)), []
        for index, name in enumerate(names):
            if stop_early and index > max(wanted):
                break
            x = self.get_submodule(name)(x)
            if index in wanted:
                found.append(x)
        return found if intermediates_only else (x, found)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ):
        """Forget the stages behind the last of ``indices`` and the classifier, so that no parameter lies idle."""
        wanted = _wanted(indices, len(self.stage_names))
        for name in self.stage_names[max(wanted) + 1 :]:
            setattr(self, name, nn.Sequential())
        for name in ("conv2", "bn2", "norm", "fc"):
            if prune_head and hasattr(self, name):
                setattr(self, name, nn.Identity())
        return wanted

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A fresh last layer of K classes; none at all for 0."""
        self.num_classes = num_classes
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()


class TimmResNet(TimmMethods, ResNet):
    """A ResNet of ours that timm can handle."""


class TimmMobileNetV2(TimmMethods, MobileNetV2):
    """A MobileNetV2 of ours that timm can handle."""

    def __init__(self, spec: MobileNetV2Spec):
        super().__init__(spec)
        self.num_features = HEAD_WIDTH


def _wanted(indices: int | list[int] | None, count: int) -> list[int]:
    if indices is None:
        return list(range(count))
    chosen = list(range(count))[-indices:] if isinstance(indices, int) else [range(count)[index] for index in indices]
    return sorted(chosen)


def build(name: str, num_classes: int | None = None, in_chans: int | None = None, **overrides) -> TimmMethods:
    """The network of that name as timm wants it; ``num_classes=0`` leaves the classifier out."""
    spec = spec_for(name, num_classes or None, in_chans, **overrides)
    assert not isinstance(spec, RCNNSpec), "RCNN has no stages, so it is not registered"
    model = TimmResNet(spec) if isinstance(spec, ResNetSpec) else TimmMobileNetV2(spec)
    model.name = name
    if num_classes == 0:
        model.reset_classifier(0)
    return model


def staged_specs() -> dict[str, ResNetSpec | MobileNetV2Spec]:
    """The networks that have stages, by name: all but RCNN."""
    specs = {name: model_spec(name) for name in list_models()}
    return {name: spec for name, spec in specs.items() if not isinstance(spec, RCNNSpec)}


def register() -> None:
    """Give timm every network it does not already have by that name; its own resnet50 stays its own."""
    from timm.models import generate_default_cfgs, is_model, register_model

    specs = {name: spec for name, spec in staged_specs().items() if not is_model(name)}
    default_cfgs.update(generate_default_cfgs({name: _config(spec) for name, spec in specs.items()}))
    for name, spec in specs.items():
        register_model(_entrypoint(name, len(spec.blocks)))


def _config(spec: Spec) -> dict:
    usual = Preprocessing.for_size(spec.input_size)
    return {
        "url": "", "num_classes": spec.num_classes, "input_size": spec.input_size, "mean": usual.mean, "std": usual.std,
        "first_conv": "conv1", "classifier": "fc", "license": "apache-2.0",
    }  # fmt: skip


def _entrypoint(name: str, stages: int):
    def create(pretrained: bool = False, **options):
        from timm.models import build_model_with_cfg

        features = {"out_indices": tuple(range(stages)), "feature_cls": "getter"}
        return build_model_with_cfg(partial(build, name), name, pretrained, feature_cfg=features, **options)

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f"drnn's {name}."
    return create
