from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.store.records import SlotRecord
from tasks.announcement import Announcement, Hardware
from tasks.messages import Status, decode
from tasks.orders.disconnect import DisconnectOrder
from tasks.readable import MAX_LENGTH, readable, readable_lines
from tests.support import announcement, train_order


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one  line, of two words each", "one  line, of two words each"),
        ("  ValueError: \n", "ValueError:"),
        ("done\nINFO round 1 closed", r"done\nINFO round 1 closed"),
        ("\x1b[2J\x1b]0;title\x07\r", r"\x1b[2J\x1b]0;title\x07"),
        ("abc\u202edcb\u2028", r"abc\u202edcb"),
        ("\x9b31m \ud800 naïve", r"\x9b31m \ud800 naïve"),
        ("x" * 60_000, "x" * MAX_LENGTH),
        ("\x00" * MAX_LENGTH, r"\x00" * (MAX_LENGTH // 4)),
    ],
)
def test_what_moves_a_cursor_or_breaks_a_line_is_shown(text: str, shown: str) -> None:
    # Given what a stranger wrote, when it is to be shown, then it is one line, and not too long
    assert readable(text) == shown


@given(st.text())
def test_what_is_readable_stays_as_it_is(text: str) -> None:
    shown = readable(text)
    assert readable(shown) == shown


def test_what_is_no_text_is_left_for_others_to_refuse() -> None:
    assert readable(7) == 7


def test_of_several_lines_none_can_pass_for_another_of_the_log() -> None:
    assert readable_lines("Traceback:\nINFO all is well\x1b[1A") == "  Traceback:\n  INFO all is well\\x1b[1A"


def test_what_a_client_announces_is_readable_where_it_comes_in() -> None:
    # Given an announcement with escapes and lines in all its texts
    raw = announcement("anna").model_dump()
    texts = dict.fromkeys(("workload", "version", "blobs", "incarnation"), "\x1b[1A\nINFO all is well")
    # When it comes in, then none of them has any
    said = Announcement.model_validate(
        raw | texts | {"hardware": Hardware(num_cpus=1, memory_bytes=1, accelerator="\x1b[1A")}
    )
    found = {said.workload, said.version, said.blobs, said.incarnation, said.hardware.accelerator}
    assert found == {r"\x1b[1A\nINFO all is well", r"\x1b[1A"}


def test_what_a_client_is_told_when_it_is_to_leave_is_readable_where_it_comes_in() -> None:
    # Given the order to leave, with an escape in what it says, when it comes in, then there is none
    said = {**train_order().model_dump(), "incarnation": "first", "message": "\x1b[1A"}
    assert decode(DisconnectOrder, said).message == r"\x1b[1A"


def test_why_an_update_is_rejected_is_readable_and_bounded_in_its_record() -> None:
    # Given an update with an array whose name is long and has lines, when it is rejected for it
    record = SlotRecord(status=Status.TRAINED).rejected("unknown array 'a\nb" + "x" * 60_000)
    # Then the record says so in one line
    assert record.reason.startswith(r"unknown array 'a\nbx")
    assert len(record.reason) == MAX_LENGTH
