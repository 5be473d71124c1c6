"""Fixtures of a client's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.blobs.chunks import MemoryChunks
from tasks.workload import ClientData
from tests.support import PULL, Pull
from tests.worker.asked import (
    TEST,
    TRAIN,
    Noting,
)
from worker.client import Client
from worker.serving import Serving


@pytest.fixture
def connection() -> Noting:
    return Noting()


@pytest.fixture
def client(chunks: MemoryChunks, tmp_path: Path, connection: Noting) -> Client:
    data = ClientData(train=TRAIN, test=TEST, num_train=2)
    return Client("anna", PULL, Pull(), data, chunks, tmp_path, "second", connection)


@pytest.fixture
def serving(client: Client) -> Serving:
    """A process that serves the client."""
    made = Serving()
    made.add(client)
    return made
