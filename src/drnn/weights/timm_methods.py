"""What timm asks of a model beyond what ours do; nothing here needs timm."""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from drnn.core.modes import drop_hooks
from drnn.models import Classifier, set_dense

SIDE = 1024  # of an image without data, which every stride divides


class TimmMethods(Classifier):
    """What timm expects of a model beyond ours. Names and shapes of all parameters stay the same. Abstract."""

    num_features: int

    @property
    def stage_names(self) -> list[str]:
        """``layer1``, ``layer2``, ..."""
        return [name for name, _ in self.named_children() if name.startswith("layer")]

    @property
    def feature_info(self) -> list[dict]:
        """Channels and reduction of what each stage gives, from a run without data."""
        twin = deepcopy(self).to("meta").eval()
        set_dense(drop_hooks(twin))
        with torch.no_grad():
            _, maps = twin.forward_intermediates(torch.empty(1, self.input_size[0], SIDE, SIDE, device="meta"))
        return [
            {"num_chs": part.shape[1], "reduction": SIDE // part.shape[2], "module": name}
            for name, part in zip(self.stage_names, maps, strict=True)
        ]

    @property
    def head_hidden_size(self) -> int:
        """Width of what the classifier reads; here that of the last maps, too."""
        return self.num_features

    def forward_features(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to the last stage's output."""
        return self.features(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The last stage's output to logits ``(N, K)``, or to what the classifier reads."""
        return self.pooled(x) if pre_logits else self.head(x)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Outputs of the stages at ``indices``; a number takes the last so many, None all. See timm.

        Raises:
            ValueError: indices of stages that are not there, or another format than NCHW.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt {output_fmt!r} received; {self.name} gives NCHW only")
        names = self.stage_names
        wanted = _wanted(indices, len(names))
        x, found = self.stem(self.checked(x)), []
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
        refuse_pool(self.name, global_pool)
        self.num_classes = num_classes
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Refuse to: none of our networks computes activations again in the backward pass.

        Raises:
            ValueError: ``enable``.
        """
        if enable:
            raise ValueError(f"{self.name} has no gradient checkpointing; leave it off")


def _wanted(indices: int | Sequence[int] | None, count: int) -> list[int]:
    everything = range(count)
    if indices is None:
        return list(everything)
    if isinstance(indices, int):
        chosen = everything[-indices:] if 0 < indices <= count else ()
    else:
        chosen = [everything[index] for index in indices if -count <= index < count]
    if not chosen or (not isinstance(indices, int) and len(chosen) < len(indices)):
        raise ValueError(
            f"indices {indices} received; the network has {count} stages: give how many of the last, "
            f"or some of {-count}..{count - 1}"
        )
    return sorted(chosen)


def refuse_pool(name: str, global_pool: str | None) -> None:
    """All our networks that timm knows average.

    Raises:
        ValueError: anything but "avg" or None.
    """
    if global_pool not in (None, "avg"):
        raise ValueError(f"global_pool={global_pool!r} received; {name} has 'avg' only")
