from __future__ import annotations

import pytest

from orchestrator.outlying_sets import outlying_sets


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
