from __future__ import annotations

import itertools
from typing import Any

import pytest

from orchestrator.clients.manager import ClientManager
from orchestrator.driver.collector import Collector
from orchestrator.transport.eager import EagerTransport
from orchestrator.transport.transport import Lost, RunServices
from tasks.blobs.chunks import MemoryChunks
from tests.support import MemoryRegistry


class Seconds:
    """Time that passes only where something takes some."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Waits(EagerTransport):
    """A transport whose tasks never end: to wait takes time."""

    def __init__(self, seconds: Seconds) -> None:
        self._seconds = seconds

    def collect(self, task_ids: Any, timeout_s: float, max_bytes: int = 0) -> dict[str, bytes | str]:
        """Wait in vain."""
        assert timeout_s > 0, "it must not spin"
        self._seconds.now += timeout_s
        return {}


@pytest.mark.parametrize(("look_s", "every_s"), [(0.0, 1.0), (0.01, 1.0), (0.5, 10.0), (2.0, 40.0)])
def test_looks_at_all_clients_take_a_small_share_of_the_time(look_s: float, every_s: float) -> None:
    # Given a collector for which a look at its clients takes a while
    seconds, looks = Seconds(), []
    registry = MemoryRegistry()
    manager = ClientManager(registry.present, clock=seconds)

    def look() -> Lost:
        looks.append(seconds.now)
        seconds.now += look_s
        return Lost.NOTHING

    services = RunServices(
        Waits(seconds), registry.present, registry.say_passed_over, MemoryChunks(), seconds, lambda: False, lambda: None
    )
    collector = Collector(services, manager, look, seconds)
    # When it waits for something, then it looks every second, or as seldom as takes a twentieth of the time
    assert collector.result("task", lambda: "again") is None
    assert {round(later - former, 6) for former, later in itertools.pairwise(looks)} == {every_s}
