"""How numbers are written."""

from __future__ import annotations

import pytest

from orchestrator.observers.durations import duration
from orchestrator.page.text import instant, size


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, "–"),
        (0.003, "3 ms"),
        (0.35, "0.35 s"),
        (12, "12 s"),
        (185, "3 min 05 s"),
        (7800, "2 h 10 min"),
        (273_600, "3 d 4 h"),
    ],
)
def test_durations_are_told_in_the_unit_that_fits(seconds: float | None, told: str) -> None:
    assert duration(seconds) == told


@pytest.mark.parametrize(("number", "told"), [(0, "0 B"), (38_728, "38.7 kB"), (2e9, "2 GB"), (3e13, "30 TB")])
def test_bytes_are_told_in_the_unit_that_fits(number: float, told: str) -> None:
    assert size(number) == told


def test_a_time_that_is_not_known_is_a_dash() -> None:
    assert instant(0) == "–"
    assert instant(1_767_323_045) == "2026-01-02 03:04:05 UTC"
