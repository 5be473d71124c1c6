from __future__ import annotations

import gc

import pytest
from hypothesis import HealthCheck, settings

from tasks.blobs.chunks import MemoryChunks

# No test depends on how fast the machine is, and each run tries the same examples.
settings.register_profile("celeriac", deadline=None, derandomize=True)
# But for `make fuzz`, which tries many others each time.
settings.register_profile(
    "fuzz", deadline=None, derandomize=False, database=None, max_examples=400, suppress_health_check=list(HealthCheck)
)
settings.load_profile("celeriac")


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> None:
    """Have the garbage collector wait until the tests are imported, and then pass over them: they stay."""
    gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture
def chunks() -> MemoryChunks:
    """An empty store of blobs in this process."""
    return MemoryChunks()
