"""Fixtures of the integration tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from coverage import Coverage
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


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count the processes that a test starts, where coverage is measured: it costs each a third of a second.

    They count if they end by themselves, or are asked to.
    """
    measured = Coverage.current()
    if measured is not None:
        monkeypatch.setenv("COVERAGE_PROCESS_CONFIG", measured.config.serialize())
