"""A worker says that its enrolment ends, in the last thirty days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.tasks.trust.test_enrolment import accepted
from worker.reminder import remind


def reminded(folder: Path, days: float, caplog: pytest.LogCaptureFixture) -> list[str]:
    remind(accepted(folder, datetime.now(UTC) + timedelta(days=days)))
    return caplog.messages


def test_nothing_is_said_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert reminded(tmp_path, 31, caplog) == []


def test_the_day_is_said_in_the_last_thirty_days(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (told,) = reminded(tmp_path, 29, caplog)
    day = datetime.now(UTC) + timedelta(days=29)
    assert told.startswith(f"the enrolment of hospital-a ends on {day:%Y-%m-%d} ")
    assert "ask the operator to renew it" in told


def test_that_it_is_over_is_said_after(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (told,) = reminded(tmp_path, -1, caplog)
    assert "have it renewed" in told
