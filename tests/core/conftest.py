"""What tests of the core ask for by name."""

import pytest

from .small import make_block


@pytest.fixture
def block():
    """Three loops, gates that differ between images."""
    return make_block()
