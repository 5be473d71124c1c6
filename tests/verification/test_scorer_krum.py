from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verification.cohort import candidates, context
from verification import ScoringError
from verification.krum import score_krum

NUMBERS = st.integers(-9, 9).map(float)


def test_the_score_is_minus_the_sum_of_squared_distances_to_the_nearest() -> None:
    # Given six clients on a line at 0, 1, 2, 4, 5 and 100, of which one may be hostile: 6 - 1 - 2 = 3 nearest
    cohort = candidates(a=[0, 0], b=[1, 0], c=[2, 0], d=[4, 0], e=[5, 0], far=[100, 0])
    # When they are scored
    scores = score_krum(cohort, context(num_byzantine=1))
    # Then a: 1 + 4 + 16, b: 1 + 1 + 9, c: 1 + 4 + 4, d: 1 + 4 + 9, e: 1 + 9 + 16, far: 95² + 96² + 98²
    assert scores == {"a": -21.0, "b": -11.0, "c": -9.0, "d": -14.0, "e": -26.0, "far": -27845.0}


def test_with_nobody_hostile_all_but_one_count() -> None:
    # Given three clients at 0, 1 and 3, and nobody hostile: 3 - 0 - 2 = 1 nearest
    scores = score_krum(candidates(a=[0, 0], b=[1, 0], c=[3, 0]), context())
    # Then these are 1, 1 and 4
    assert scores == {"a": -1.0, "b": -1.0, "c": -4.0}


def test_equal_updates_are_at_distance_0() -> None:
    # Given five clients with the same update, when they are scored, then all are 0
    cohort = candidates(**{client_id: [0.1, 0.7] for client_id in "abcde"})
    assert set(score_krum(cohort, context(num_byzantine=1)).values()) == {0.0}


@pytest.mark.parametrize(("num_updates", "num_byzantine", "needed"), [(0, 0, 3), (2, 0, 3), (4, 1, 5), (8, 3, 9)])
def test_with_too_few_updates_krum_promises_nothing_and_says_so(
    num_updates: int, num_byzantine: int, needed: int
) -> None:
    # Given fewer than 2f + 3 updates, when they are scored, then the message says how many are needed
    cohort = candidates(**{f"c{index}": [index, 0] for index in range(num_updates)})
    with pytest.raises(
        ScoringError, match=f"krum has {num_updates} updates of which {num_byzantine} .*: at least {needed} are needed"
    ):
        score_krum(cohort, context(num_byzantine=num_byzantine))


@given(points=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=4, max_size=8), distance=st.floats(1e3, 1e9))
def test_an_outlier_is_last_and_the_others_keep_their_order(points: list[tuple[float, float]], distance: float) -> None:
    # Given a cohort among which nobody is hostile, and one more that is far away
    cohort = candidates(**{f"c{index}": point for index, point in enumerate(points)})
    before = score_krum(cohort, context(num_byzantine=0))
    # When it joins as the one that may be hostile: n + 1 - 1 - 2 nearest count, as many as before
    after = score_krum([*cohort, *candidates(far=[distance, 0])], context(num_byzantine=1))
    # Then it is last, and the others are scored as before
    assert after.pop("far") < min(after.values())
    assert after == pytest.approx(before, rel=1e-9)
