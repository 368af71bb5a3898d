"""The preprocessing of a network that says none itself."""

from drnn.data import cifar10, streamed
from drnn.models import Classifier, Preprocessing

USUAL: dict[tuple[int, ...], tuple[tuple[float, ...], tuple[float, ...]]] = {  # mean and std by size
    (3, 32, 32): (cifar10.MEAN, cifar10.STD),
    (3, 224, 224): (streamed.MEAN, streamed.STD),  # ImageNet's
}


def usual_preprocessing(size: tuple[int, int, int]) -> Preprocessing:
    """CIFAR-10's or ImageNet's for images ``(C, H, W)`` of their kind; plain fractions for all others."""
    mean, std = USUAL.get(tuple(size), ((0.0,) * size[0], (1.0,) * size[0]))
    return Preprocessing(size, mean, std)


def preprocessing_of(model: Classifier) -> Preprocessing:
    """What its weights were trained with; the usual one of its size where nobody said."""
    return model.preprocessing or usual_preprocessing(model.input_size)
