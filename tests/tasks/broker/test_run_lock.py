"""The notice of a run, as it is read."""

from __future__ import annotations

import json

import pytest

from tasks.broker.run_lock import Notice, decode_all

NOTICE = Notice(run_id="one", num_parts=3, wants=("labels", "num_cpus"))


def test_a_notice_comes_out_of_json_as_it_went_in() -> None:
    # Given a notice, when it goes through JSON and back, then it is the same
    assert decode_all(NOTICE.model_dump_json().encode()) == [NOTICE]


def test_an_older_orchestrators_notice_wants_nothing_told() -> None:
    # Given a notice of a version that knows nothing of details, when it is read, then it wants none
    [notice] = decode_all(NOTICE.model_dump_json(exclude={"wants"}).encode())
    assert notice.wants == ()


@pytest.mark.parametrize("wants", ["labels", None, 5, {"labels": 1}, [5], [None], [["labels"]], ["x" * 51], ["x"] * 21])
def test_a_notice_that_wants_rubbish_is_none(wants: object) -> None:
    # Given a notice whose wants aren't a few names, when it is read, then there is no run
    assert decode_all(json.dumps({**NOTICE.model_dump(), "wants": wants}).encode()) == []
