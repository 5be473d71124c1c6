from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verification.proportion import (
    BUFFERS,
    PARAMETERS,
    Lengths,
    OwnLength,
    by_part,
    described,
    in_short,
    out_of_proportion,
    part_of,
)


def judged(lengths: Mapping[str, Lengths], own_length: OwnLength) -> dict[str, str]:
    """What is found among clients that did a step each."""
    return out_of_proportion(lengths, dict.fromkeys(lengths, 1), own_length)


def lengths_of(*lengths: float, part: str = PARAMETERS) -> dict[str, dict[str, float]]:
    return {f"client-{k}": {part: length} for k, length in enumerate(lengths)}


def test_arrays_belong_to_what_is_trained_to_buffers_or_to_a_sets_share_of_these() -> None:
    buffers = {"bn/mean"}
    assert part_of("w", buffers) == "parameters"
    assert part_of("bn/mean", buffers) == "buffers"
    assert part_of("@c/w", buffers) == "@c"
    assert part_of("@c/bn/mean", buffers) == "@c/buffers"


def test_an_update_over_a_hundred_times_as_long_as_the_median_is_told_with_both() -> None:
    # Given changes of 0.83, and one of 3e31, beside a model of length 6.2
    reasons = judged(lengths_of(0.83, 0.8, 3e31, 0.9, 0.83), lambda part: 6.2)
    # Then that one is told: 100 * 0.83 are allowed
    assert reasons == {
        "client-2": "its change of the parameters has length 3e+31, the median of all is 0.83: at most 83 is allowed"
    }


def test_a_hundred_times_the_median_is_in_proportion_and_a_little_more_is_not() -> None:
    # Given the median 2 of five, and no model worth mentioning
    assert judged(lengths_of(1, 2, 200, 3, 2), lambda part: 0.0) == {}
    assert list(judged(lengths_of(1, 2, 200.1, 3, 2), lambda part: 0.0)) == ["client-2"]


def test_what_is_no_longer_than_ten_times_the_model_is_in_proportion_whatever_the_others_did() -> None:
    # Given three that sent the model back, and two that trained: one went ten times as far as the model is long
    reasons = judged(lengths_of(0, 0, 50, 0, 51), lambda part: 5.0)
    # Then the other is told, which went farther
    assert reasons == {
        "client-4": "its change of the parameters has length 51, the median of all is 0: at most 50 is allowed"
    }


def test_where_model_and_median_are_nothing_there_is_nothing_to_judge_by() -> None:
    assert judged(lengths_of(0, 0, 5), lambda part: 0.0) == {}


@pytest.mark.parametrize("num", [1, 2])
def test_of_one_or_two_nobody_is_told_from_the_other(num: int) -> None:
    assert judged(lengths_of(*[1.0, 1e30][-num:]), lambda part: 0.0) == {}
    assert judged({}, lambda part: 0.0) == {}


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (BUFFERS, "its change of the buffers has length 1e+30"),
        ("@c", "the set 'c' with it has length 1e+30"),
        ("@c/buffers", "the set 'c' with it, for buffers, has length 1e+30"),
    ],
)
def test_every_part_is_judged_by_itself(part: str, words: str) -> None:
    # Given four clients whose parameters are alike, one of which is far off in another part
    others = lengths_of(1, 1, 1e30, 1, part=part)
    clients = {client_id: {PARAMETERS: 1e3, **each} for client_id, each in others.items()}
    # Then it is told, and what the part is compared with is asked for by its name
    asked: list[str] = []
    reasons = judged(clients, lambda name: asked.append(name) or 2.0)  # type: ignore[func-returns-value]
    assert reasons == {"client-2": f"{words}, the median of all is 1: at most 100 is allowed"}
    assert asked == [part]
    assert described(part, 1e30) == words


def test_clients_of_which_a_length_isnt_known_are_left_out() -> None:
    # Given two clients of an older version, which say nothing, and three others
    known = lengths_of(1, 1, 1e30)
    assert by_part({"older": {}, **known}) == {PARAMETERS: {"client-0": 1, "client-1": 1, "client-2": 1e30}}
    assert list(judged({"older": {}, **known}, lambda part: 0.0)) == ["client-2"]


def test_lengths_have_six_digits() -> None:
    assert in_short({"parameters": 2.0, "buffers": 1e240}) == {"parameters": 1.41421, "buffers": 1e120}


@given(
    honest=st.lists(st.floats(0.1, 9.9), min_size=3, max_size=9),
    num_byzantine=st.integers(0, 8),
    factor=st.floats(1.01, 1e30),
)
def test_a_minority_of_nonsense_is_told_and_no_honest_client_with_it(
    honest: list[float], num_byzantine: int, factor: float
) -> None:
    # Given honest clients of lengths that differ by up to a hundred times, and fewer that go farther than that
    num = min(num_byzantine, len(honest) - 1)
    clients = lengths_of(*honest) | {f"hostile-{k}": {PARAMETERS: 990 * factor} for k in range(num)}
    # When they are compared, then exactly the others are told
    assert judged(clients, lambda part: 99.0).keys() == {f"hostile-{k}" for k in range(num)}


def test_who_did_more_steps_may_go_as_many_times_as_far_but_not_beyond_a_hundred() -> None:
    # Given four clients of one step, and one that says it did 660, or more than anybody can
    lengths, steps = lengths_of(1, 1, 1, 1, 7000), {f"client-{k}": 1 for k in range(4)}
    # When they are judged, then 660 steps are believed as a hundred: 100 * 100 times the median is allowed
    for num_steps, length, found in ((660, 9_999.0, []), (660, 10_001.0, ["client-4"]), (10**12, 1e30, ["client-4"])):
        lengths["client-4"] = {PARAMETERS: length}
        told = out_of_proportion(lengths, {**steps, "client-4": num_steps}, lambda part: 0.0)
        assert list(told) == found
