"""Rounds one after the other: each waits for all of its cohort, or for the deadline."""

from __future__ import annotations

from orchestrator.config import RunConfig
from orchestrator.policies import Progress
from orchestrator.store.records import RoundRecord

MIN_LEFT_SHARE = 0.1
"""Share of the timeout that must be left for a client to join a round that is open."""


class Synchronous:
    """A round is complete when every client of its cohort has responded or is lost.

    Args:
        config: The run's: cohort size, timeout, who may join.
    """

    def __init__(self, config: RunConfig) -> None:
        self._config = config

    def least_connected(self) -> int:
        """Return as many as make a cohort of ``--cohort``, or of ``--min-updates``."""
        return self._config.clients_to_wait_for()

    def num_wanted(self, num_connected: int) -> int:
        """Return ``--cohort``, or ``--fraction`` of those that are connected."""
        return self._config.cohort_of(num_connected)

    def timeout_s(self) -> float:
        """Return ``--timeout``."""
        return self._config.timeout_s

    def newcomer_timeout_s(self, left_s: float) -> float:
        """Return what is left, if that is a tenth of the timeout or more and clients may join (``--accept live``)."""
        config = self._config
        takes_any = config.accept == "live" and config.cohort is None
        is_enough = left_s >= MIN_LEFT_SHARE * config.timeout_s
        return min(config.timeout_s, left_s) if takes_any and is_enough else 0.0

    def note(self, record: RoundRecord) -> None:
        """Go by the config alone."""

    def is_complete(self, progress: Progress) -> bool:
        """Say whether nobody is at work any more."""
        return progress.num_open == 0
