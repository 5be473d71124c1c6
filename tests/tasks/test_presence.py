from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from tasks.presence import Announcement, MemoryRegistry, _decode
from tests.support import announcement


def registry_with(*announcements: Announcement) -> MemoryRegistry:
    registry = MemoryRegistry()
    for each in announcements:
        registry.announce(each)
    return registry


def leaving(registry: MemoryRegistry) -> list[str]:
    return [client_id for client_id, announced in registry.present().items() if announced.leaving]


def test_a_client_that_leaves_says_so_of_itself_alone() -> None:
    # Given three clients
    registry = registry_with(announcement("carl"), announcement("anna"), announcement("bert"))
    # When one leaves
    registry.announce_leaving(announcement("bert"))
    # Then the others stay, sorted
    assert list(registry.present()) == ["anna", "bert", "carl"]
    assert leaving(registry) == ["bert"]


def test_the_end_of_a_former_incarnation_changes_nothing_of_the_present_one() -> None:
    # Given a client that was started anew
    registry = registry_with(announcement("anna", "first"), announcement("anna", "second"))
    # When its former worker ends at last
    registry.announce_leaving(announcement("anna", "first"))
    # Then the present one is as it was, until it leaves itself
    assert registry.present() == {"anna": announcement("anna", "second")}
    registry.announce_leaving(announcement("anna", "second"))
    assert registry.present() == {"anna": announcement("anna", "second", leaving=True)}


def test_a_client_whose_announcement_is_gone_doesnt_come_back_by_leaving() -> None:
    # Given a client
    registry = registry_with(announcement("anna"))
    # When another says that it is leaving, then nothing happens
    registry.announce_leaving(announcement("bert"))
    assert registry.present() == {"anna": announcement("anna")}


def test_the_last_announcement_of_a_client_holds() -> None:
    # Given a client
    registry = registry_with(announcement("anna", num_examples=5))
    # When it announces itself as leaving, with other data
    registry.announce(announcement("anna", num_examples=7, leaving=True))
    # Then that is what is known of it
    assert registry.present() == {"anna": announcement("anna", num_examples=7, leaving=True)}


def test_what_is_returned_is_a_copy() -> None:
    # Given a registry, when somebody empties what it returned, then it knows its clients all the same
    registry = registry_with(announcement("anna"))
    registry.present().clear()
    assert list(registry.present()) == ["anna"]


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
        {"heartbeat_s": 0},
        {"heartbeat_s": 3601},
        {"heartbeat_s": math.nan},
        {"shared_queue": "orchestrator"},
        {"shared_queue": "client.bert"},
        {"shared_queue": "clients."},
        {"secret": 1},
    ],
)
def test_an_announcement_with_anything_out_of_range_is_refused(change: dict[str, object]) -> None:
    # Given an announcement with one value that it can't have, when it is made, then it is refused
    values = {**announcement("anna").model_dump(), **change}
    with pytest.raises(ValidationError, match="1 validation error"):
        Announcement.model_validate(values)
