"""What tests of inference ask for by name: where to record."""

import pytest
import torch

from drnn.inference.recordings import Recordings

from .captured import OnAnyDevice


@pytest.fixture(params=["traced", pytest.param("graphs", marks=pytest.mark.gpu)])
def way(request, monkeypatch):
    """Device and a maker of recordings."""
    if request.param == "traced":
        return "cpu", OnAnyDevice
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    return "cuda", Recordings
