"""The preprocessing of a network that says none itself."""

from drnn.models import MODELS, Classifier, Preprocessing
from drnn.models.preprocessing import CIFAR10_MEAN, CIFAR10_STD, IMAGENET_MEAN, IMAGENET_STD

USUAL: dict[tuple[int, ...], tuple[tuple[float, ...], tuple[float, ...]]] = {  # mean and std by size
    (3, 32, 32): (CIFAR10_MEAN, CIFAR10_STD),
    (3, 224, 224): (IMAGENET_MEAN, IMAGENET_STD),
}


def usual_preprocessing(size: tuple[int, int, int], name: str | None = None) -> Preprocessing:
    """CIFAR-10's or ImageNet's for networks of theirs; plain fractions for all others.

    Args:
        size: ``(C, H, W)`` of the images.
        name: of the network, whose line in the registry says what it is for; the size itself says it where there is
            none.
    """
    line, plain = MODELS.get(name or ""), ((0.0,) * size[0], (1.0,) * size[0])
    own = tuple(line.input_size if line else size)
    mean, std = USUAL.get(own, plain) if own[0] == size[0] else plain
    return Preprocessing(size, mean, std)


def preprocessing_of(model: Classifier) -> Preprocessing:
    """What its weights were trained with; the usual one of its name and size where nobody said."""
    return model.preprocessing or usual_preprocessing(model.input_size, model.name)
