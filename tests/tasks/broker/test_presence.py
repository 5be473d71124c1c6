from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from tasks.announcement import Announcement
from tasks.broker.presence import _decode
from tests.support import announcement


def test_an_announcement_comes_out_of_json_as_it_went_in() -> None:
    # Given an announcement with labels, when it goes through JSON and back, then it is the same
    announced = announcement("anna", labels={"0": 3, "seven": 2}, heartbeat_s=0.5, leaving=True)
    assert _decode(announced.model_dump_json()) == announced
    assert _decode(announced.model_dump_json().encode()) == announced


@pytest.mark.parametrize("value", [None, b"", b"{}", b"\xff", "[]", "not json", '{"client_id": "anna"}'])
def test_what_is_no_announcement_is_passed_over(value: bytes | str | None) -> None:
    # Given something else under an announcement's key, when it is decoded, then it is none
    assert _decode(value) is None


@pytest.mark.parametrize(
    "change",
    [
        {"client_id": ""},
        {"client_id": "-anna"},
        {"client_id": "anna/../bert"},
        {"client_id": "anna\n"},
        {"client_id": "x" * 65},
        {"incarnation": ""},
        {"incarnation": "x" * 65},
        {"num_examples": -1},
        {"num_examples": 10**13},
        {"labels": {"7": -1}},
        {"labels": {"7": 10**4000}},
        {"labels": {"x" * 101: 1}},
        {"labels": {str(label): 1 for label in range(25_001)}},
        {"hardware": {"num_cpus": 10**4000, "memory_bytes": 0}},
        {"hardware": {"num_cpus": 1, "memory_bytes": 10**4000}},
        {"heartbeat_s": 0},
        {"heartbeat_s": 3601},
        {"heartbeat_s": math.nan},
        {"shared_queue": "orchestrator"},
        {"shared_queue": "client.bert"},
        {"shared_queue": "clients."},
        {"shared_queue": "clients.ward.50"},
        {"shared_queue": "clients.anna.1"},
        {"client_id": "ward-51", "shared_queue": "clients.ward.50"},
        {"client_id": "ward-00", "shared_queue": "clients.ward.50"},
        {"client_id": "ward-1", "shared_queue": "clients.ward.50"},
        {"client_id": "ward-01x", "shared_queue": "clients.ward.50"},
        {"client_id": "ward.5-1", "shared_queue": "clients.ward.50"},
        {"client_id": "ward-01", "shared_queue": "clients.ward.fifty"},
        {"secret": 1},
    ],
)
def test_an_announcement_with_anything_out_of_range_is_refused(change: dict[str, object]) -> None:
    # Given an announcement with one value that it can't have, when it is made, then it is refused
    values = {**announcement("anna").model_dump(), **change}
    with pytest.raises(ValidationError, match="1 validation error"):
        Announcement.model_validate(values)
