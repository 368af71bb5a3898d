"""From the host to where the work is done, without waiting."""

import torch
from torch import Tensor


def to_device(values: Tensor, device: torch.device | str) -> Tensor:
    """``values`` on ``device``.

    A GPU copies from page-locked memory while the host goes on; from other memory the host would first wait for all
    that the GPU still has to do.
    """
    device = torch.device(device)
    if device.type != "cuda" or values.device.type != "cpu":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
