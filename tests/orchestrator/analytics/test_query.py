from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.analytics.query import Query
from orchestrator.transport.responses import read_response
from tasks.errors import MessageError, NothingToldError
from tasks.messages import Response, Status, encode
from tasks.orders.statistics import Bins, Column, Groups, Numbers, StatisticsOrder, StatisticsResponse
from tasks.pooling import GroupsSummary, NumbersSummary
from tasks.statistics import Statistics, put_together
from tasks.summarising import summarise

WARD = Groups(count=20, missing=0, groups={"a": 20}, other=0)
AGE = Numbers(count=20, missing=1, mean=40.0, squares=190.0)


def order(client_id: str = "anna", **changes: Any) -> StatisticsOrder:
    return StatisticsOrder.model_validate(
        {
            "order_id": f"{client_id}/run/1/statistics", "run_id": "run", "client_id": client_id, "round_number": 1,
            "workload": "w", "timeout_s": 60.0, "deadline": 1e12, **changes,
        }
    )  # fmt: skip


def telling(client_id: str, **columns: Column) -> Response:
    return order(client_id).respond(min_count=10, known=tuple(columns), columns=columns)


def together(responses: Sequence[Response]) -> Statistics:
    return put_together(responses, shares=Query().shares)


def test_columns_are_told_over_all_and_of_each_client() -> None:
    found = together([telling("anna", age=AGE, ward=WARD), telling("bert", age=AGE)])
    over_all = found.columns["age"].over_all
    assert isinstance(over_all, NumbersSummary)
    assert (over_all.num_clients, over_all.count, over_all.missing, over_all.mean) == (2, 40, 2, 40.0)
    assert list(found.columns["age"].clients) == ["anna", "bert"]
    assert list(found.columns["ward"].clients) == ["anna"]


def test_a_client_with_another_kind_of_column_than_most_is_left_out_and_named() -> None:
    found = together([telling("anna", age=AGE), telling("bert", age=WARD), telling("carl", age=AGE)])
    assert found.columns["age"].over_all.num_clients == 2
    assert found.withheld == {"bert": ("age",)}


def test_who_tells_nothing_is_named_with_the_reason() -> None:
    few = order("bert").respond(min_count=10, reason="it has fewer than 10 rows")
    lost = order("carl").respond(Status.LOST, reason="the client vanished")
    found = together([telling("anna", ward=WARD), few, lost])
    assert found.not_told == {"bert": "done: it has fewer than 10 rows", "carl": "lost: the client vanished"}
    assert isinstance(found.columns["ward"].over_all, GroupsSummary)


def test_where_nobody_tells_anything_the_reasons_are_the_error() -> None:
    lost = order("carl").respond(Status.LOST, reason="the client vanished")
    with pytest.raises(NothingToldError, match=r"^no client told anything of its data: carl: lost: the client van"):
        together([lost])


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"name": WARD}, "column 'name' wasn't asked for"),
        (
            {"age": Numbers(count=0, missing=20, mean=0, squares=0)},
            "column 'age' has a count of 0: 10 is the minimum",
        ),
        (
            {"height": Groups(count=20, missing=0, groups={"tall": 11, "small": 9}, other=0)},
            "column 'height' has a count of 9: 10 is the minimum",
        ),
        (
            {"age": AGE.model_copy(update={"bins": Bins(starts=(0, 4), counts=(10, 10))})},
            "column 'age' has a bin from cell 4: there are 4",
        ),
        (
            {"height": AGE.model_copy(update={"bins": Bins(starts=(0,), counts=(20,))})},
            "column 'height' has a bin from cell 0: there are 0",
        ),
    ],
)
def test_what_doesnt_suit_the_order_is_refused(columns: dict[str, Column], why: str) -> None:
    asked = order(columns=["age", "height"], edges={"age": [0, 10, 20]})
    with pytest.raises(MessageError) as raised:
        asked.check(telling("anna", **columns))
    assert str(raised.value) == why


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = [*StatisticsResponse.model_fields, *Numbers.model_fields, *Groups.model_fields, "starts", "counts"]
CHANGES = st.dictionaries(st.sampled_from(FIELDS), JSON | st.integers(0, 10**12) | st.floats(-1e100, 1e100), max_size=3)


@given(CHANGES, CHANGES)
def test_whatever_a_client_tells_the_others_are_told_of(change: dict[str, Any], of_column: dict[str, Any]) -> None:
    # Given two clients that tell of their ages, and one that tells anything
    edges = {"age": (0.0, 50.0, 100.0)}
    age = AGE.model_copy(update={"bins": Bins(starts=(0, 1, 2), counts=(0, 10, 10))})
    asked = order("carl", edges=edges)
    answer = encode(asked.respond(min_count=10, known=["age"], columns={}))
    answer["columns"] = {"age": {**encode(age), **of_column}}
    told = read_response(json.dumps({"status": "SUCCESS", "result": {**answer, **change}}), asked)

    # When what they tell is put together, then it is told
    found = put_together([telling("anna", age=age), telling("bert", age=age), told], edges=edges, shares=Query().shares)
    assert {"anna", "bert"} <= found.columns["age"].clients.keys()
    assert found.columns["age"].over_all.count >= 40
    json.loads(found.model_dump_json())


# A minimum count is no differential privacy: what two answers tell of one person, and what one answer doesn't.


def bins(values: Sequence[float], edges: tuple[float, ...]) -> Bins:
    column = summarise(np.array(values), edges, 10)
    assert isinstance(column, Numbers)
    assert column.bins is not None
    return column.bins


AGES = [30.0 + index for index in range(30)]


def test_one_answer_doesnt_tell_of_one_person() -> None:
    # Given thirty people of 30 to 59, and edges around the one who is 40
    told = bins(AGES, (40.0, 40.5))
    # When they are told of, then nobody is in a bin of fewer than ten
    assert told == Bins(starts=(0, 1), counts=(10, 20))


def test_one_answer_with_many_narrow_cells_doesnt_tell_the_smallest_or_largest_value() -> None:
    # Given a thousand cells from 0 to 100, when they are told of, then the first bin and the last reach to the edges
    told = bins(AGES, tuple(float(edge) for edge in np.linspace(0, 100, 1001)))
    assert told.starts[:2] == (0, 1)
    assert (told.starts[-1], told.counts[0], told.counts[-1]) == (1001, 0, 0)
    assert all(count >= 10 for count in told.counts[1:-1])


def test_a_row_of_answers_tells_the_largest_value() -> None:
    # Given queries whose last edge halves what is left, when nobody is above it, or somebody is, is looked at,
    low, high = 0.0, 100.0
    while high - low > 0.01:
        middle = (low + high) / 2
        told = bins(AGES, (-1.0, middle))
        is_nobody_above = told.starts[-1] == 2 and told.counts[-1] == 0
        low, high = (low, middle) if is_nobody_above else (middle, high)
    # Then fourteen of them tell the age of the oldest
    assert high == pytest.approx(59.0, abs=0.01)


def test_two_answers_that_differ_by_an_edge_tell_of_one_person() -> None:
    # Given two queries with one edge before, and one behind, the person who is 40
    before, behind = bins(AGES, (40.0, 100.0)), bins(AGES, (40.5, 100.0))
    # When what they tell is subtracted, then it is known that exactly one person is between 40 and 40.5
    assert behind.counts[0] - before.counts[0] == 1


def test_two_answers_between_which_a_person_came_tell_that_persons_value() -> None:
    # Given a client before and after somebody of 87 came
    before, after = summarise(AGES, None, 10), summarise([*AGES, 87.0], None, 10)
    assert isinstance(before, Numbers)
    assert isinstance(after, Numbers)
    # When the sums are subtracted, then the age is known
    assert after.count * after.mean - before.count * before.mean == pytest.approx(87.0)


def test_a_group_of_few_is_not_told_by_what_is_left_of_the_others() -> None:
    # Given a hundred people of whom three have the rare name, when they are told of, then no difference of what is told
    # is three: the others are enough, or the common name is among them
    told = summarise(["common"] * 97 + ["rare"] * 3, None, 10)
    assert told == Groups(count=100, missing=0, groups={}, other=100)
