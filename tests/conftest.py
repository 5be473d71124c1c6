from __future__ import annotations

import pytest
from hypothesis import settings

from tasks.blobs.chunks import MemoryChunks

# No test depends on how fast the machine is, and each run tries the same examples.
settings.register_profile("celeriac", deadline=None, derandomize=True)
settings.load_profile("celeriac")


@pytest.fixture
def chunks() -> MemoryChunks:
    """An empty store of blobs in this process."""
    return MemoryChunks()
