"""What the worst that is accepted of a hostile client takes to read."""

from __future__ import annotations

import pytest

from benchmarks.hostile_sizes import ALLOWED_MB, CASES, measured

SIZE_MB = 0.4


@pytest.mark.parametrize("case", [case for case in CASES if "worst" in case])
def test_what_a_hostile_client_sends_takes_little_more_memory_than_a_model(case: str) -> None:
    # Given the longest and most expensive that is accepted, when it is read, then it takes a model and 10 MB at most
    found = measured(case, SIZE_MB)
    assert max(found.values()) <= SIZE_MB + ALLOWED_MB
