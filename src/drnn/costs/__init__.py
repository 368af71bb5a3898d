"""Parameters and multiply-adds, counted from the network itself.

One multiply-add counts once. Plain counting takes convolutions and fully connected layers. The paper's counting
adds two operations for every output element of a batch norm, except in MobileNetV2, and leaves the gates out:
that reproduces its cells. A layer that is neither of these, nor a norm nor a gate, but holds numbers is refused rather
than taken for free: those of an optimised network are such. `register` says what a layer of one's own costs.
"""

from drnn.costs.layers import layer_macs, register, registered_macs
from drnn.costs.network import Costs, Counting, count_costs, count_params

__all__ = ["Costs", "Counting", "count_costs", "count_params", "layer_macs", "register", "registered_macs"]
