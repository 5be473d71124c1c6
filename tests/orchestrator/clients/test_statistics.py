from __future__ import annotations

import pytest

from celeriac.selectors.client_statistics import ClientStatistics
from orchestrator.clients.statistics import StatisticsBook, newly_left_out
from orchestrator.store.records import RoundRecord, SlotRecord
from tasks.messages import Status
from tests.support import round_record


def slot(status: Status, loss: float | None = None, **changes: object) -> SlotRecord:
    metrics = {} if loss is None else {"train_loss": loss, "other": 9.0}
    return SlotRecord.model_validate({"status": status, "metrics": metrics, **changes})


def rounds() -> list[RoundRecord]:
    """Three rounds: anna trains, is cut short, and is rejected; bert vanishes and trains; carl fails twice."""
    trained = slot(Status.TRAINED, 0.5, duration_s=2.5, num_examples=40, num_steps=8)
    cut_short = slot(Status.TIMED_OUT, 0.25, duration_s=9.0, num_examples=40, num_steps=3)
    rejected = slot(Status.REJECTED, 77.0, duration_s=0.1, num_examples=1, num_steps=1)
    without_loss = slot(Status.TRAINED, None, duration_s=1.0, num_examples=7, num_steps=2)
    responses = [
        {"anna": trained, "bert": slot(Status.LOST)},
        {"anna": cut_short, "carl": slot(Status.FAILED)},
        {"anna": rejected, "bert": without_loss, "carl": slot(Status.FAILED)},
    ]
    return [round_record(number, responses=each, cohort=sorted(each)) for number, each in enumerate(responses, start=1)]


def test_the_last_accepted_update_is_what_is_known_of_a_client() -> None:
    # Given three rounds, when they are taken in
    by_client = StatisticsBook(rounds()).by_client
    # Then each client has what it told with its last accepted update, and how often it was asked, and in vain
    assert dict(by_client) == {
        "anna": ClientStatistics(
            num_selected=3, last_selected=3, num_accepted=2, num_missed=1, last_accepted=2,
            train_loss=0.25, duration_s=9.0, num_examples=40, num_steps=3,
        ),
        "bert": ClientStatistics(
            num_selected=2, last_selected=3, num_accepted=1, num_missed=0, last_accepted=3,
            train_loss=None, duration_s=1.0, num_examples=7, num_steps=2,
        ),
        "carl": ClientStatistics(num_selected=2, last_selected=3, num_missed=2),
    }  # fmt: skip


@pytest.mark.parametrize("num_before", [0, 1, 2, 3])
def test_a_book_that_is_made_anew_from_the_history_is_the_same(num_before: int) -> None:
    # Given rounds of which some were taken in as they were closed, and others from the file, as text
    kept = [RoundRecord.model_validate_json(record.model_dump_json()) for record in rounds()[:num_before]]
    book = StatisticsBook(kept)
    for record in rounds()[num_before:]:
        book.add(record)
    # When it is compared with one that took in all at once, then it makes no difference
    assert book.by_client == StatisticsBook(rounds()).by_client


def test_who_got_through_the_first_exchange_of_a_round_that_failed_by_it_has_missed_nothing() -> None:
    # Given a client that failed once, and then sent what it was asked for in a round in which nobody trained
    missed = round_record(1, responses={"anna": slot(Status.FAILED)}, cohort=["anna"])
    failed = round_record(
        2, responses={"anna": slot(Status.SURVEYED, num_examples=7)}, cohort=["anna"], status="failed"
    )
    # When both are taken in, then it was asked twice, and what is known of it else is what it was
    by_client = StatisticsBook([missed, failed]).by_client
    assert by_client["anna"] == ClientStatistics(num_selected=2, last_selected=2, num_missed=1)


def test_a_selector_cant_change_what_is_known() -> None:
    # Given a book, when one tries to write into what it shows, then that is refused
    with pytest.raises(TypeError):
        StatisticsBook(rounds()).by_client["anna"] = ClientStatistics()  # type: ignore[index]


@pytest.mark.parametrize(
    ("num_missed", "num_rounds"), [(0, 0), (1, 1), (2, 2), (3, 4), (4, 8), (7, 64), (8, 64), (1000, 64)]
)
def test_a_client_rests_longer_the_more_often_it_failed_in_a_row(num_missed: int, num_rounds: int) -> None:
    # Given a client that failed in round 10, when it is asked in which rounds it rests, then it is the next so many
    known = ClientStatistics(num_selected=9, last_selected=10, num_missed=num_missed)
    resting = [number for number in range(11, 200) if known.is_resting(number)]
    assert resting == list(range(11, 11 + num_rounds))


def test_who_was_asked_in_vain_five_times_in_a_row_is_told_once() -> None:
    # Given a client that is lost in rounds 1 to 7, trains in the eighth, and is lost in five more
    kinds = [Status.LOST] * 7 + [Status.TRAINED] + [Status.LOST] * 5
    book, told = StatisticsBook(), []
    # When rounds are taken in one after the other
    for number, status in enumerate(kinds, start=1):
        record = round_record(number, responses={"anna": slot(Status.TRAINED), "bert": slot(status)})
        book.add(record)
        told += [(number, client_id) for client_id in newly_left_out(record, book.by_client)]
    # Then it is told after the fifth, and after the fifth since it trained
    assert told == [(5, "bert"), (13, "bert")]
