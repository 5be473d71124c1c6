"""The soak in short; ``python -m benchmarks.soak`` is the whole."""

from __future__ import annotations

from pathlib import Path

from benchmarks.soak import Settings, report, soak


def test_clients_come_leave_freeze_and_die_and_nothing_is_left_of_rounds_that_are_over(tmp_path: Path) -> None:
    # Given a run whose clients come, leave, freeze and die by a seeded plan
    settings = Settings(rounds=25, seed=1)

    # When it has gone through its rounds
    result = soak(settings, tmp_path)

    # Then each was closed once, nothing hung or was left in Redis, and memory didn't grow
    assert not result.problems, report(settings, result)
    assert len(result.records) == settings.rounds
    assert result.events.total() > 0
