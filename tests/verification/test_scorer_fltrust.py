from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verification.cohort import candidates, context
from verification import ScoringError
from verification.fltrust import score_fltrust

POINTS = st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=8)


def test_the_score_is_the_cosine_with_the_root_delta_where_it_is_not_negative() -> None:
    # Given the global model (1, 1), and training on the root data that leads to (3, 1): the delta (2, 0)
    about = context({"w": np.ones(2)}, train_root=lambda: {"w": np.array([3.0, 1.0])})
    # When deltas (3, 4), (0, 5), (-1, 0), (0, 0) and (100, 0) are scored
    cohort = candidates(a=[4, 5], b=[1, 6], c=[0, 1], d=[1, 1], e=[101, 1])
    # Then they are 3/5, 0, max(0, -1), 0 as it points nowhere, and 1 whatever its length
    assert score_fltrust(cohort, about) == pytest.approx({"a": 0.6, "b": 0.0, "c": 0.0, "d": 0.0, "e": 1.0})


def test_the_root_data_is_trained_on_once() -> None:
    # Given a count of trainings
    calls: list[int] = []

    def train_root() -> dict[str, np.ndarray]:
        calls.append(1)
        return {"w": np.ones(2)}

    # When three clients are scored, then there was one
    score_fltrust(candidates(a=[1, 0], b=[0, 1], c=[1, 1]), context(train_root=train_root))
    assert len(calls) == 1


def test_without_root_data_it_cant_score() -> None:
    # Given an orchestrator without root data, when it scores, then it says so
    with pytest.raises(ScoringError, match="fltrust needs root data of the orchestrator"):
        score_fltrust(candidates(a=[1, 0]), context())


def test_root_training_that_changed_nothing_is_an_error() -> None:
    # Given training that returns the global model, when clients are scored, then it says so
    with pytest.raises(ScoringError, match="training on the root data changed nothing"):
        score_fltrust(candidates(a=[1, 0]), context(train_root=lambda: {"w": np.zeros(2)}))


@given(points=POINTS, hostile=POINTS)
def test_no_client_has_a_say_in_anothers_score(
    points: list[tuple[float, float]], hostile: list[tuple[float, float]]
) -> None:
    # Given a cohort, and any number of others
    about = context(train_root=lambda: {"w": np.array([1.0, 2.0])})
    cohort = candidates(**{f"c{index}": point for index, point in enumerate(points)})
    others = candidates(**{f"h{index}": point for index, point in enumerate(hostile)})
    alone = score_fltrust(cohort, about)
    # When they are scored together, in another order, then the cohort's scores are as before, to the last bit
    together = score_fltrust([*others, *reversed(cohort)], about)
    assert {client_id: together[client_id] for client_id in alone} == alone
    assert all(0 <= score <= 1 for score in together.values())
