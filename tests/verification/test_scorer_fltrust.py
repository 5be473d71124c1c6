from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verification.cohort import candidate, candidates, context
from verification import ScoringContext, ScoringError
from verification.fltrust import score_fltrust
from verification.thresholds import default_threshold, kept

POINTS = st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=8)


def about_root(*delta: float) -> ScoringContext:
    """A context whose global model is zeros, and whose root delta is this."""
    return context(num=len(delta), train_root=lambda: {"w": np.array(delta)})


def test_the_score_is_the_cosine_with_the_root_delta_where_it_is_not_negative() -> None:
    # Given the global model (1, 1), and training on the root data that leads to (11, 1): the delta (10, 0)
    about = context({"w": np.ones(2)}, train_root=lambda: {"w": np.array([11.0, 1.0])})
    # When deltas no longer than that are scored: (3, 4), (0, 5), (-1, 0), (0, 0) and (10, 0)
    cohort = candidates(a=[4, 5], b=[1, 6], c=[0, 1], d=[1, 1], e=[11, 1])
    # Then they are 3/5, 0, max(0, -1), 0 as it points nowhere, and 1; being shorter costs nothing
    assert score_fltrust(cohort, about) == pytest.approx({"a": 0.6, "b": 0.0, "c": 0.0, "d": 0.0, "e": 1.0})


def test_what_is_longer_than_the_root_delta_and_the_others_loses_trust_with_the_square() -> None:
    # Given the root delta (2, 0), and deltas of the lengths 5, 1, 4, 1 and 100
    cohort = candidates(a=[3, 4], b=[1, 0], c=[4, 0], d=[0, 1], e=[100, 0])
    # When they are scored, then the others' medians are 2.5, 4.5, 3, 4.5 and 2.5, all more than 2, so allowed are
    # half of a: 0.6 / 4, all of b and d, three quarters of c: 9 / 16, and a fortieth of e: 1 / 1600
    expected = {"a": 0.15, "b": 1.0, "c": 0.5625, "d": 0.0, "e": 0.000625}
    assert score_fltrust(cohort, about_root(2, 0)) == pytest.approx(expected)


def test_the_root_deltas_length_is_always_allowed() -> None:
    # Given stragglers that hardly moved, and one that went twice as far as the root's (0, 3)
    cohort = candidates(a=[0, 6], b=[0, 0.1], c=[0, 0.2], d=[0, 0.1])
    # When they are scored, then the others' 0.1 is less than 3, which is half of it: (1/2)²
    assert score_fltrust(cohort, about_root(0, 3)) == pytest.approx({"a": 0.25, "b": 1.0, "c": 1.0, "d": 1.0})


def test_clients_whose_training_is_longer_than_the_roots_are_all_kept() -> None:
    # Given ten clients that go 20 to 29 times as far as the root's single step, all at the cosine 0.6
    cohort = candidates(**{f"c{index}": [3 * (20 + index), 4 * (20 + index)] for index in range(10)})
    # When they are scored
    scores = score_fltrust(cohort, about_root(5, 0))
    # Then the longest, 29, may be as long as the others' median, 24: 0.6 * (24 / 29)²; and all reach the default
    assert scores["c9"] == pytest.approx(0.6 * (24 / 29) ** 2)
    assert kept(scores, default_threshold("fltrust")) == scores.keys()


def test_the_length_of_a_client_alone_is_compared_with_the_roots_only() -> None:
    # Given a single client, four times as far as the root, when it is scored, then it is (1/4)²; and none is none
    assert score_fltrust(candidates(a=[4, 0]), about_root(1, 0)) == {"a": 0.0625}
    assert score_fltrust([], about_root(1, 0)) == {}


@pytest.mark.parametrize("num_steps", [1, 10**9])
def test_the_steps_that_a_client_claims_buy_no_trust(num_steps: int) -> None:
    # Given a scaled update, when its client claims few or many steps and examples, then the score is the same
    [scaled] = candidates(a=[10, 0])
    scaled = replace(scaled, num_steps=num_steps, num_examples=num_steps)
    assert score_fltrust([scaled, *candidates(b=[1, 0])], about_root(1, 0)) == pytest.approx({"a": 0.01, "b": 1.0})


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


@pytest.mark.parametrize(("dtype", "huge"), [(np.float32, 3.4e38), (np.float64, 1e300)])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("place", range(5))
def test_one_of_five_with_the_largest_numbers_is_dropped_and_changes_no_honest_verdict(
    dtype: type, huge: float, sign: int, place: int
) -> None:
    # Given five clients whose deltas are (3, 4) and a little of their own, one of which sends the largest numbers
    deltas = [[3.0, 4.0], [3.1, 4.0], [3.0, 4.1], [2.9, 4.0], [3.0, 3.9]]
    deltas[place] = [sign * huge, sign * huge]
    names = ["a", "b", "c", "d", "e"]
    cohort = [candidate(name, w=np.array(delta, dtype)) for name, delta in zip(names, deltas, strict=True)]
    about = context({"w": np.zeros(2, dtype)}, train_root=lambda: {"w": np.array([3, 4], dtype)})
    # When they are scored
    scores = score_fltrust(cohort, about)
    # Then the honest have cosines of nearly 1, and lengths up to 5.1 where 5 are allowed; the one has no trust
    assert all(scores[name] > 0.96 for name in names if name != names[place])
    assert scores[names[place]] < 1e-60
    assert kept(scores, default_threshold("fltrust")) == set(names) - {names[place]}


@given(points=POINTS, hostile=POINTS)
def test_nobody_can_lower_anothers_score_below_what_the_root_allows(
    points: list[tuple[float, float]], hostile: list[tuple[float, float]]
) -> None:
    # Given a cohort whose clients are scored one by one, so by the root alone, and any number of others
    about = about_root(1, 2)
    cohort = candidates(**{f"c{index}": point for index, point in enumerate(points)})
    others = candidates(**{f"h{index}": point for index, point in enumerate(hostile)})
    alone = {each.client_id: score_fltrust([each], about)[each.client_id] for each in cohort}
    # When they are scored together, then no score is lower, and none is above the cosine
    together = score_fltrust([*others, *cohort], about)
    assert all(together[client_id] >= score for client_id, score in alone.items())
    assert all(0 <= score <= 1 for score in together.values())
    # And another order gives the same, to the last bit
    assert score_fltrust([*reversed(cohort), *others], about) == together


@given(lengths=st.lists(st.floats(1, 9), min_size=3, max_size=9), factor=st.floats(10, 1e6))
def test_a_minority_that_scales_can_allow_itself_no_more_than_honest_lengths(
    lengths: list[float], factor: float
) -> None:
    # Given honest clients of lengths 1 to 9, and as many less one that go at least 10 times as far as any of them
    honest = candidates(**{f"c{index}": [length, 0] for index, length in enumerate(lengths)})
    far = max(lengths) * factor
    hostile = candidates(**{f"h{index}": [far, 0] for index in range(len(lengths) - 1)})
    # When all are scored with a root delta of length 1, then a scaled one is at most (1/10)², and is dropped
    scores = score_fltrust([*honest, *hostile], about_root(1, 0))
    assert all(scores[each.client_id] <= 0.01 + 1e-9 for each in hostile)
    assert not kept(scores, default_threshold("fltrust")) & {each.client_id for each in hostile}
