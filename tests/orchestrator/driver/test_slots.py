from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.driver.slots import MAX_SENT, Slot, Slots
from tasks.messages import Response, Status
from tests.support import train_order, trained

ANNA, BERT, CARL = (train_order(client_id) for client_id in ("anna", "bert", "carl"))
INCARNATIONS = {"anna": "1", "bert": "1", "carl": "1"}


def three_slots() -> Slots:
    return Slots([ANNA, BERT, CARL], INCARNATIONS)


def who(verdicts: list[tuple[Slot, Response]]) -> dict[str, tuple[str, str]]:
    return {response.client_id: (response.status.value, response.reason) for _, response in verdicts}


def test_each_order_has_a_slot_with_the_incarnation_it_was_sent_to() -> None:
    # Given three orders, when slots are made, then they are open, numbered from 0
    slots = three_slots()
    assert len(slots) == 3
    assert slots.open() == [Slot(0, ANNA, "1"), Slot(1, BERT, "1"), Slot(2, CARL, "1")]
    assert slots.filled() == []


def test_an_answer_fills_the_slot_of_its_order() -> None:
    # Given three slots
    slots = three_slots()
    # When the answers of two come, the last first
    assert slots.fill(CARL.order_id, trained(CARL)) == Slot(2, CARL, "1")
    assert slots.fill(ANNA.order_id, trained(ANNA)) == Slot(0, ANNA, "1")
    # Then one is open, and the others are in the order of the slots
    assert [slot.order.client_id for slot in slots.open()] == ["bert"]
    assert [(slot.index, response.client_id) for slot, response in slots.filled()] == [(0, "anna"), (2, "carl")]


def test_a_second_answer_fills_no_slot() -> None:
    # Given a slot that was filled as lost
    slots = three_slots()
    [(_, lost), *_] = slots.overdue()
    slots.fill(ANNA.order_id, lost)
    # When the answer comes late
    late = slots.fill(ANNA.order_id, trained(ANNA))
    # Then the slot stays as it was
    assert late is None
    assert slots.filled() == [(Slot(0, ANNA, "1"), lost)]


def test_an_answer_to_no_order_of_these_fills_no_slot() -> None:
    # Given three slots, when an answer of another round comes, then it fills none
    slots = three_slots()
    former = train_order("anna", round_number=0)
    assert slots.fill(former.order_id, trained(former)) is None
    assert len(slots.open()) == 3


def test_clients_that_vanished_are_lost() -> None:
    # Given three slots
    slots = three_slots()
    # When two clients aren't there, then both are lost
    verdicts = slots.lost({"carl": "1", "dora": "1"})
    assert who(verdicts) == {"anna": ("lost", "the client vanished"), "bert": ("lost", "the client vanished")}
    assert [response.order_id for _, response in verdicts] == ["client/anna/run/1/train", "client/bert/run/1/train"]


def test_a_client_that_was_started_anew_is_to_get_its_order_again() -> None:
    # Given three slots
    slots = three_slots()
    # When one client isn't there, and another is there again
    present = {"bert": "2", "carl": "1"}
    # Then the order of that one is to be sent again, once, and its answer is expected of the new start
    assert slots.started_anew(present) == [Slot(1, BERT, "2", num_sent=2)]
    assert slots.started_anew(present) == []
    assert who(slots.lost(present)) == {"anna": ("lost", "the client vanished")}
    assert slots.fill(BERT.order_id, trained(BERT)) == Slot(1, BERT, "2", num_sent=2)


def test_a_client_that_is_started_anew_again_and_again_is_lost() -> None:
    # Given a slot
    slots = Slots([ANNA], {"anna": "1"})
    # When its client is there with another incarnation each time one looks
    sent = [len(slots.started_anew({"anna": str(start)})) for start in range(2, 7)]
    # Then its order is sent three times in all, and after that it is lost
    assert MAX_SENT == 3
    assert sent == [1, 1, 0, 0, 0]
    assert who(slots.lost({"anna": "7"})) == {"anna": ("lost", "the client was started anew 3 times")}


def test_a_client_whose_answer_has_come_cant_be_lost_any_more() -> None:
    # Given a slot that is filled
    slots = three_slots()
    slots.fill(ANNA.order_id, trained(ANNA))
    # When all clients vanish, then it isn't among the lost
    assert sorted(who(slots.lost({}))) == ["bert", "carl"]


def test_judging_fills_nothing() -> None:
    # Given three slots, when verdicts are asked for, then the slots are open still
    slots = three_slots()
    assert len(slots.lost({})) == len(slots.overdue()) == 3
    assert len(slots.open()) == 3


def test_all_open_slots_are_overdue_when_the_deadline_has_passed() -> None:
    # Given three slots, one of which is filled
    slots = three_slots()
    slots.fill(BERT.order_id, trained(BERT))
    # When the deadline passes, then the others are lost
    assert who(slots.overdue()) == {
        "anna": ("lost", "no answer by the deadline"),
        "carl": ("lost", "no answer by the deadline"),
    }


def test_a_client_that_was_gone_when_its_order_was_sent_is_lost_unless_it_comes() -> None:
    # Given an order to a client of no known incarnation
    slots = Slots([ANNA], {})
    # When it isn't there, then it vanished, and when it comes after all, then it is to get its order
    assert who(slots.lost({})) == {"anna": ("lost", "the client vanished")}
    assert slots.started_anew({"anna": "1"}) == [Slot(0, ANNA, "1", num_sent=2)]


def test_a_client_that_is_filled_gets_no_order_again() -> None:
    # Given a slot that is filled, when its client is started anew, then there is nothing to send
    slots = three_slots()
    slots.fill(ANNA.order_id, trained(ANNA))
    assert slots.started_anew({"anna": "2", "bert": "1", "carl": "1"}) == []


@given(
    events=st.lists(
        st.tuples(st.sampled_from([ANNA, BERT, CARL]), st.sampled_from(["response", "lost", "overdue"])), max_size=12
    )
)
def test_whatever_happens_each_slot_is_filled_exactly_once(events: list[tuple[object, str]]) -> None:
    # Given three slots, and answers, losses and deadlines in any order
    slots = three_slots()
    filled: dict[str, Status] = {}
    for order, event in events:
        candidates = {
            "response": [trained(order)],  # type: ignore[arg-type]
            "lost": [response for _, response in slots.lost({})],
            "overdue": [response for _, response in slots.overdue()],
        }[event]
        for response in candidates:
            # When a slot is filled, then it was open, and otherwise nothing happens
            if slots.fill(response.order_id, response) is not None:
                assert response.order_id not in filled
                filled[response.order_id] = response.status
    # Then what filled a slot first is what it holds
    assert {slot.order.order_id: response.status for slot, response in slots.filled()} == filled
    assert len(slots.open()) + len(slots.filled()) == len(slots) == 3
