"""Which static network a recursive one is measured against."""

from drnn.models.classifier import Classifier
from drnn.models.registry import create_model

COUNTERPARTS = {
    "dr_resnet_digits": "resnet_digits",
    "dr_resnet16_cifar": "resnet20_cifar",
    **{f"dr_resnet{depth}_cifar": "resnet56_cifar" for depth in (32, 40)},
    **{f"dr_resnet{depth}_cifar": "resnet110_cifar" for depth in (54, 58, 66, 74)},
    "dr_resnet35": "resnet50",
    **{f"dr_resnet{depth}": "resnet101" for depth in (44, 47, 53, 65)},
    "dr_resnet53_lvbn": "resnet101",
    "dr_mobilenetv2": "mobilenetv2",
}


def counterpart(model: Classifier) -> Classifier | None:
    """The static network of the same table row, as the table has it, for the same images and classes.

    None where there is none. Other fields that ``model`` was given, such as a width, are not passed on.
    """
    name = COUNTERPARTS.get(model.name)
    if name is None:
        return None
    return create_model(name, model.num_classes, input_size=model.input_size)
