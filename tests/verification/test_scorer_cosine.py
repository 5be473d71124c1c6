from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verification.cohort import candidates, context
from verification.cosine import score_cosine

NUMBERS = st.integers(-9, 9).map(float)


def test_the_score_is_the_cosine_with_the_median_of_the_others_directions() -> None:
    # Given directions (1, 0), (0, 1), (0.6, 0.8) and the opposite of the first, of different lengths
    cohort = candidates(anna=[2, 0], bert=[0, 7], carl=[3, 4], dora=[-1, 0])
    # When they are scored
    scores = score_cosine(cohort, context())
    # Then anna's centre is the median of (0, 1), (0.6, 0.8), (-1, 0): (0, 0.8), at a right angle
    assert scores["anna"] == 0.0
    # And bert's is that of (1, 0), (0.6, 0.8), (-1, 0): (0.6, 0), at a right angle too
    assert scores["bert"] == 0.0
    # And carl's is that of (1, 0), (0, 1), (-1, 0): (0, 0), which is nowhere
    assert scores["carl"] == 0.0
    # And dora's is that of (1, 0), (0, 1), (0.6, 0.8): (0.6, 0.8), with the cosine -0.6
    assert scores["dora"] == pytest.approx(-0.6)


def test_one_client_has_nobody_to_disagree_with() -> None:
    # Given one client, or none, when it is scored, then it is 1
    assert score_cosine(candidates(anna=[-3, 1]), context()) == {"anna": 1.0}
    assert score_cosine([], context()) == {}


@pytest.mark.parametrize(("other", "expected"), [([0, 2], 0.0), ([5, 0], 1.0), ([-5, 0], -1.0), ([1, 1], 0.5**0.5)])
def test_two_clients_have_the_same_score(other: list[float], expected: float) -> None:
    # Given two clients, when they are scored, then each has the cosine between them
    scores = score_cosine(candidates(anna=[3, 0], bert=other), context())
    assert scores == pytest.approx({"anna": expected, "bert": expected})


def test_an_update_that_changed_nothing_has_no_say() -> None:
    # Given two that agree, and five that changed nothing
    cohort = candidates(anna=[1, 1], bert=[2, 2], c=[0, 0], d=[0, 0], e=[0, 0], f=[0, 0], g=[0, 0])
    # When they are scored, then the two agree with each other
    scores = score_cosine(cohort, context())
    assert scores == pytest.approx({"anna": 1.0, "bert": 1.0, "c": 0, "d": 0, "e": 0, "f": 0, "g": 0})


@given(
    points=st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=8), factors=st.lists(st.integers(-8, 8))
)
def test_lengths_make_no_difference(points: list[tuple[float, float, float]], factors: list[int]) -> None:
    # Given a cohort, and the same with deltas that are multiplied by powers of two
    cohort: dict[str, Any] = {f"c{index}": np.array(point) for index, point in enumerate(points)}
    powers = [*factors, *[0] * len(points)]
    scaled: dict[str, Any] = {
        name: delta * 2.0**power for (name, delta), power in zip(cohort.items(), powers, strict=False)
    }
    # When both are scored, then nothing changes
    assert score_cosine(candidates(**cohort), context(num=3)) == score_cosine(candidates(**scaled), context(num=3))


@given(angles=st.lists(st.floats(-0.3, 0.3), min_size=2, max_size=8))
def test_one_that_points_the_other_way_is_last(angles: list[float]) -> None:
    # Given clients that agree but for 0.3 radians
    cohort = {f"c{index}": [math.cos(angle), math.sin(angle)] for index, angle in enumerate(angles)}
    # When one joins that points the other way
    scores = score_cosine(candidates(**cohort, away=[-100, 0]), context())
    # Then it is last, below -0.9: the median of the others is no further than 0.3 radians from its opposite
    assert scores.pop("away") < -0.9
    # And with three or more others they are within 0.7 radians of one another still
    if len(angles) > 2:
        assert min(scores.values()) > 0.7
