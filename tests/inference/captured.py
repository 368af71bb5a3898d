"""Recordings that need no GPU, and networks that use them."""

from torch.fx.experimental.proxy_tensor import make_fx

import drnn
from drnn.inference.captured import CapturedNetwork
from drnn.inference.recordings import Recording, Recordings


class Traced(Recording):
    """As a graph of torch's tracer."""

    def record(self, work, place):
        graph = make_fx(lambda images: work(images))(self.images)
        result = graph(self.images)
        return result, lambda: result.copy_(graph(self.images))


class OnAnyDevice(Recordings):
    """Of one image wherever it is, autocast and gradients or not."""

    def __init__(self, make=Traced):
        super().__init__(make)

    def can_record(self, x):
        return len(x) == 1


def captured(model, make):
    """The network optimised, with recordings of that kind."""
    return CapturedNetwork(drnn.optimize(model, fuse=False), make())
