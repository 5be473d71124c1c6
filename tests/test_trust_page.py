"""The page on trust: its numbers are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from celeriac.workloads.datasets.idx import MAX_CONTENT_BYTES
from orchestrator.store.updates import HEADER_SLACK_BYTES
from tasks.announcement import MAX_ANNOUNCEMENT_BYTES, MAX_DETAILS, MAX_LABEL_LENGTH, MAX_LABELS, MAX_PROCESSES
from tasks.arrays import MAX_HEADER_BYTES
from tasks.messages import MAX_AWAY_S, MAX_CPU_S, MAX_DURATION_S, MAX_RESPONSE_BYTES, MAX_TIMEOUT_S, StudyOrder
from tasks.metrics import MAX_METRICS
from tasks.orders.statistics import MAX_COLUMNS, MAX_GROUPS
from tasks.readable import MAX_LENGTH
from tasks.results import NAME_BYTES
from tasks.spec import MAX_LENGTH as MAX_SPEC
from verification.proportion import MOST_TIMES_MEDIAN

PAGE = (Path(__file__).parents[1] / "docs" / "trust.md").read_text(encoding="utf-8")
BOUNDS = {
    "an update's bytes": f"and {HEADER_SLACK_BYTES // 1024} KiB",
    "an update's header": f"{NAME_BYTES} bytes a declared result",
    "how far it changes the model": f"{MOST_TIMES_MEDIAN:g} times the median",
    "an answer": f"{StudyOrder.max_response_bytes // 1024} KiB as stored, {MAX_RESPONSE_BYTES // 2**20} MiB for",
    "the time that it says it took": f"{MAX_DURATION_S / 3600:g} hours; of processor time "
    f"{MAX_CPU_S / MAX_DURATION_S:,.0f} times that",
    "the run's notice": f"{MAX_DETAILS} details",
    "metrics": f"{MAX_METRICS}, names",
    "statistics": f"{MAX_COLUMNS:,} of {MAX_GROUPS:,} groups",
    "a failure's text, a reason": f"{MAX_LENGTH:,} characters",
    "an announcement": f"{MAX_ANNOUNCEMENT_BYTES // 1024} KiB; {MAX_LABELS:,} labels of {MAX_LABEL_LENGTH} characters",
    "a shared queue, its processes": f"{MAX_PROCESSES:,} processes",
    "a model to start from": f"{MAX_HEADER_BYTES // 10**6} MB",
    "an order": f"{MAX_TIMEOUT_S // 3600} hours",
    "being told to stay away": {7 * 24 * 3600: "seven days"}[MAX_AWAY_S],
    "IDX files": f"{MAX_CONTENT_BYTES // 2**30} GiB",
    "a workload's spec": f"{MAX_SPEC} characters",
}


@pytest.mark.parametrize("name", BOUNDS)
def test_a_bound_is_what_the_page_says(name: str) -> None:
    # Given a row of the page's tables, then its bound has the number that the code goes by
    (row,) = re.findall(rf"^\| {re.escape(name)} \|.*$", PAGE, re.MULTILINE)
    assert BOUNDS[name] in row.split("|")[3]
