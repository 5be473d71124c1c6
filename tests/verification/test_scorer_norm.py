from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.verification.cohort import candidates, context
from verification.norm import score_norm
from verification.thresholds import kept, parse_threshold

POINTS = st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=1, max_size=8)


def test_the_score_is_minus_the_length_of_the_delta() -> None:
    # Given the global model (1, 1) and clients at (4, 5), (1, 1) and (1, -1)
    cohort = candidates(anna=[4, 5], bert=[1, 1], carl=[1, -1])
    # When they are scored, then the deltas (3, 4), (0, 0) and (0, -2) have the lengths 5, 0 and 2
    scores = score_norm(cohort, context({"w": np.ones(2)}))
    assert scores == {"anna": -5.0, "bert": 0.0, "carl": -2.0}


def test_one_client_is_scored_and_none_is_not() -> None:
    # Given cohorts of one and of none, when they are scored, then so are the scores
    assert score_norm(candidates(anna=[3, 4]), context()) == {"anna": -5.0}
    assert score_norm([], context()) == {}


def test_an_update_that_is_too_short_is_kept_unless_the_threshold_has_two_sides() -> None:
    # Given deltas of the lengths 9, 10, 10, 11 and 12, one of 100 and one that changed nothing
    cohort = candidates(a=[9, 0], b=[10, 0], c=[0, 10], d=[11, 0], e=[0, 12], long=[100, 0], none=[0, 0])
    scores = score_norm(cohort, context())
    # When outliers are dropped: median -10, distances 1, 0, 0, 1, 2, 90, 10, so MAD 1 and 3 * 1.4826 = 4.4 to each side
    one, two = (kept(scores, parse_threshold(text)) for text in ("mad:3", "mad2:3"))
    # Then the one below is dropped, and with two sides both are
    assert one == {"a", "b", "c", "d", "e", "none"}
    assert two == {"a", "b", "c", "d", "e"}


@given(points=POINTS, factor=st.floats(1.5, 1e6))
def test_an_outlier_lowers_its_own_score_and_no_other(points: list[tuple[float, float]], factor: float) -> None:
    # Given a cohort, and one more that is further than all others
    cohort = candidates(**{f"c{index}": point for index, point in enumerate(points)})
    before = score_norm(cohort, context())
    # When it joins
    after = score_norm([*cohort, *candidates(far=[200 * factor, 0])], context())
    # Then it is last, and the others are scored as before
    assert after.pop("far") < min(after.values())
    assert after == before
