from __future__ import annotations

from orchestrator.driver.failures import MAX_REASON, why_rounds_failed
from orchestrator.store.records import RoundRecord, SlotRecord
from tasks.messages import Status
from tests.support import round_record

SEE_LOG = "; see the log of its worker"


def failed_round(number: int, **responses: SlotRecord) -> RoundRecord:
    return round_record(number, status="failed", cohort=sorted(responses), responses=responses)


def failed(reason: str, status: Status = Status.FAILED) -> SlotRecord:
    return SlotRecord(status=status, reason=reason)


def log_of(client_id: str) -> str:
    return f"logs/{client_id}.log"


def test_the_reason_of_most_clients_is_told_with_their_number_and_a_log() -> None:
    # Given two rounds: of four clients one vanishes each time, two raise the same, one trains
    trained, lost = SlotRecord(status=Status.TRAINED), failed("the client vanished", Status.LOST)
    raised = failed("train(): ValueError: no luck (my_study.py, line 12, in step)" + SEE_LOG)
    records = [
        failed_round(1, anna=lost, bert=raised, carl=trained, dora=raised),
        failed_round(2, anna=lost, bert=raised, carl=trained, dora=raised),
    ]
    # When it is asked why they failed, then it is what two of four say, once each
    assert why_rounds_failed(records, log_of) == (
        "2 of 4 clients, like bert: train(): ValueError: no luck (my_study.py, line 12, in step); see logs/bert.log"
    )


def test_of_reasons_that_as_many_have_it_is_the_first() -> None:
    # Given two clients with a reason each, the one without words
    records = [failed_round(1, bert=failed("no luck"), anna=failed("", Status.LOST))]
    # When it is asked why, then it is the first by the clients' ids, and its status stands for words
    assert why_rounds_failed(records, log_of) == "1 of 2 clients, like anna: lost; see logs/anna.log"


def test_reasons_that_differ_in_their_numbers_alone_are_one() -> None:
    # Given two clients whose updates score a little differently, and a third that vanished
    anna, carl = (
        failed(f"holdout: {score} is not within the threshold 0.95", Status.REJECTED) for score in (0.9, 0.91)
    )
    records = [failed_round(1, anna=anna, bert=failed("the client vanished", Status.LOST), carl=carl)]
    # When it is asked why, then the two count together, and the first is told
    assert why_rounds_failed(records, log_of) == (
        "2 of 3 clients, like anna: holdout: 0.9 is not within the threshold 0.95"
    )


def test_of_a_rejected_update_no_log_tells_more() -> None:
    # Given updates that the orchestrator didn't take, when it is asked why, then no client's log is named
    records = [failed_round(1, anna=failed("norm: 9 is not within the threshold 1", Status.REJECTED))]
    assert why_rounds_failed(records, log_of) == "1 of 1 clients, like anna: norm: 9 is not within the threshold 1"


def test_a_long_reason_keeps_its_beginning_and_its_end() -> None:
    # Given a reason with 300 characters in the middle
    reason = f"train(): ValueError: {'x' * 300} (my_study.py, line 12, in step)"
    # When it is asked why
    told = why_rounds_failed([failed_round(1, anna=failed(reason))], log_of)
    # Then what is left out is marked, and the line is still told
    shortened = told.removeprefix("1 of 1 clients, like anna: ").removesuffix("; see logs/anna.log")
    assert len(shortened) == MAX_REASON + 1
    assert shortened.startswith("train(): ValueError: xxx")
    assert shortened.endswith("xxx (my_study.py, line 12, in step)")
    assert shortened.count("…") == 1


def test_rounds_of_which_no_client_failed_say_no_more() -> None:
    # Given a round that failed although its client trained, when it is asked why, then there is nothing to add
    assert why_rounds_failed([failed_round(1, anna=SlotRecord(status=Status.TRAINED))], log_of) == ""
