from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.jobs.disproportion import AT_ONCE, NUM_BEFORE, InOrder, drop_disproportionate, outlying_sets
from orchestrator.store.records import SlotRecord
from tasks.messages import Status
from verification.checks import own_length

MODEL = {"mean": np.full(3, 100.0), "w": np.array([0.6, 0.8])}
OWN = partial(own_length, model=MODEL, buffers={"mean"})
REASON = "its change of the parameters has length 1e+30, the median of all is 1: at most 100 is allowed"


def accepted(length: float, status: Status = Status.TRAINED) -> SlotRecord:
    return SlotRecord(status=status, lengths={"parameters": length})


def in_order(records: Mapping[str, SlotRecord], num_slots: int, *, is_over: bool = False) -> InOrder:
    order = [str(number) for number in range(num_slots)]
    return InOrder(order, records.get, OWN, is_over=is_over)


def test_one_out_of_proportion_is_rejected_with_the_reason_and_the_others_stay_as_they_are() -> None:
    # Given five clients, of which one sent nonsense, and one was rejected with an update that is as long
    records = {
        "anna": accepted(1),
        "bert": accepted(1e30),
        "carl": accepted(1, Status.TIMED_OUT),
        "dora": accepted(1),
        "emil": SlotRecord(status=Status.REJECTED, reason="another", lengths={"parameters": 1e30}),
    }
    # When they are judged, then the one is rejected, and has no say in what the others' median is but as one of four
    judged = drop_disproportionate(records, OWN)
    assert judged.pop("bert") == SlotRecord(status=Status.REJECTED, reason=REASON, lengths={"parameters": 1e30})
    assert judged == {client_id: record for client_id, record in records.items() if client_id != "bert"}


def test_a_part_is_compared_with_that_part_of_the_model() -> None:
    # Given three clients that moved nothing, and one that moved statistics less than ten times the model's: 1732
    records = {name: SlotRecord(status=Status.TRAINED, lengths={"buffers": 0.0, "parameters": 0.0}) for name in "abc"}
    moved = SlotRecord(status=Status.TRAINED, lengths={"buffers": 1732.0, "parameters": 0.0})
    assert drop_disproportionate({**records, "d": moved}, OWN)["d"] == moved
    # When another moved what is trained as far, which is 1 long, then that is out of proportion
    far = SlotRecord(status=Status.TRAINED, lengths={"buffers": 0.0, "parameters": 1732.0})
    assert drop_disproportionate({**records, "d": far}, OWN)["d"].status is Status.REJECTED


def test_a_group_of_slots_is_judged_when_all_of_it_has_come_the_first_with_the_second() -> None:
    # Given 24 slots, of which the first 16 have been filled but for one, and one of the last eight
    records = {str(number): accepted(1e30 if number == 2 else 1) for number in (*range(15), 17)}
    # Then nothing is known yet
    assert in_order(records, 24).reasons(2) is None
    # When the last of them comes, then two groups are judged, and the other isn't
    records["15"] = accepted(1)
    assert in_order(records, 24).reasons(2) == in_order(records, 24).reasons(0) == {"2": REASON}
    assert in_order(records, 24).reasons(9) == {}
    assert in_order(records, 24).reasons(17) is None


def test_a_majority_of_the_first_eight_doesnt_hide_among_them() -> None:
    # Given 16 slots of which the first five sent nonsense, when they are judged, then all of these are found
    records = {str(number): accepted(1e30 if number < 5 else 1) for number in range(16)}
    assert in_order(records, 16).reasons(0) == dict.fromkeys("01234", REASON)


def test_a_last_group_of_fewer_slots_is_judged_when_the_round_is_over() -> None:
    # Given eleven slots, all of them filled, to which others may be added
    records = {str(number): accepted(1e30 if number == 10 else 1) for number in range(11)}
    assert in_order(records, 11).reasons(10) is None
    # When none is any more, then the last three are judged among all
    assert in_order(records, 11, is_over=True).reasons(10) == {"10": REASON}
    assert in_order(records, 11, is_over=True).all_reasons() == {"10": REASON}


def test_where_a_group_has_too_few_updates_those_that_follow_are_waited_for() -> None:
    # Given eight slots with two updates, one of them nonsense
    lost = SlotRecord(status=Status.LOST)
    records = {str(number): lost for number in range(8)} | {"3": accepted(1e30), "5": accepted(1)}
    assert in_order(records, 24).reasons(3) is None
    assert in_order(records, 8).reasons(3) is None
    # When eight more have come with one update, then the three are judged
    records |= {str(number): lost for number in range(8, 16)} | {"8": accepted(1)}
    assert in_order(records, 24).reasons(3) == {"3": REASON}
    # And when no more are to come, two can't be
    assert in_order(records, 8, is_over=True).reasons(3) == {}


def test_a_group_that_is_waited_for_is_judged_however_far_the_next_updates_are() -> None:
    # Given a hundred and four slots whose only updates are in the first eight, one of them nonsense, and in the last
    records = {str(number): SlotRecord(status=Status.LOST) for number in range(104)}
    records |= {"1": accepted(1e30), "2": accepted(1), "103": accepted(1)}
    assert in_order(records, 104).reasons(1) == {"1": REASON}


def test_a_group_is_judged_among_the_slots_before_it_but_not_all_of_them() -> None:
    # Given clients whose first eight went a thousand times as far as all that follow
    num_slots = NUM_BEFORE + AT_ONCE
    records = {str(number): accepted(1000 if number < AT_ONCE else 1) for number in range(num_slots)}
    records[str(num_slots - 1)] = accepted(101)
    judge = in_order(records, num_slots, is_over=True)
    # Then they are in proportion, as they are among themselves
    assert judge.reasons(0) == {}
    # And the last is judged among the last 64, which aren't they
    assert list(judge.reasons(num_slots - 1) or {}) == [str(num_slots - 1)]
    assert list(judge.all_reasons()) == [str(num_slots - 1)]


@given(
    st.lists(st.sampled_from([None, 1.0, 2.0, 150.0, 1e30]), min_size=1, max_size=40),
    st.randoms(use_true_random=False),
)
def test_what_is_known_while_updates_come_is_what_is_known_in_the_end(
    lengths: list[float | None], random: Random
) -> None:
    # Given slots that are filled in any order, some without an update
    filled = {
        str(number): SlotRecord(status=Status.LOST) if length is None else accepted(length)
        for number, length in enumerate(lengths)
    }
    coming = list(filled)
    random.shuffle(coming)
    final = in_order(filled, len(lengths), is_over=True)
    # When it is looked after each
    so_far: dict[str, SlotRecord] = {}
    for client_id in coming:
        so_far[client_id] = filled[client_id]
        found = in_order(so_far, len(lengths)).reasons(int(client_id))
        # Then nothing is known yet, or what will be said in the end
        assert found is None or found == final.reasons(int(client_id))


def sets_of(*lengths: float, part: str = "@c") -> dict[str, dict[str, float]]:
    """Clients whose set c is as long as said, and whose parameters differ by much."""
    return {f"client-{k}": {"parameters": 10.0**k, part: length} for k, length in enumerate(lengths)}


@pytest.mark.parametrize("length", [1e38, 1e100, 10.0, 2.1])
def test_a_set_that_is_far_longer_than_the_others_is_told(length: float) -> None:
    # Given three clients whose sets have length 1, and one whose set is longer
    reasons = outlying_sets(sets_of(1, 1, length, 1))
    # Then that one is found, with both lengths
    assert list(reasons) == ["client-2"]
    assert "has length" in reasons["client-2"]
    assert "the median has 1" in reasons["client-2"]


def test_sets_that_differ_as_clients_do_are_left() -> None:
    assert outlying_sets(sets_of(1, 1.5, 0.2, 1.9, 0.0)) == {}
    assert outlying_sets(sets_of(0.0, 0.0, 0.0)) == {}


def test_where_lengths_are_spread_widely_it_takes_more() -> None:
    # Given lengths 1, 2, 3, 4, 5: median 3, MAD 1; then 3 + max(3, 5 * 1.4826) = 10.413 is the limit
    assert outlying_sets(sets_of(1, 2, 3, 4, 10.4)) == {}
    assert list(outlying_sets(sets_of(1, 2, 3, 4, 10.5))) == ["client-4"]


def test_buffers_are_told_by_their_change() -> None:
    # Given three clients whose statistics moved by 1, and one whose moved by 3
    reasons = outlying_sets(sets_of(1, 1, 3, 1, part="buffers"))
    # Then that one is found
    assert reasons == {"client-2": "its change of the buffers has length 3, the median has 1"}


def test_what_is_trained_is_left_to_scorers_and_what_is_missing_is_not_compared() -> None:
    # Given updates of nothing but parameters, and sets of two clients alone, as of a run that an older version began
    assert outlying_sets({"a": {"parameters": 1.0}, "b": {"parameters": 1.0}, "c": {"parameters": 9.0}}) == {}
    assert outlying_sets({**sets_of(1, 50), "older-1": {}, "older-2": {}}) == {}


def test_of_two_nobody_is_told_from_the_other() -> None:
    assert outlying_sets(sets_of(1, 1e30)) == {}
    assert outlying_sets({}) == {}
