"""Fixtures of the integration tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.integration import harness


@pytest.fixture
def field(tmp_path: Path) -> Iterator[harness.Field]:
    """Starts programs; they end with the test."""
    started = harness.Field(tmp_path)
    yield started
    started.end()


@pytest.fixture
def broker() -> Iterator[Redis]:
    """A real server of the test's own."""
    with harness.server() as server:
        yield server.client
