"""Which scorer sees which attack, with default thresholds: ten clients, three of them hostile."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verification.cohort import (
    HOSTILE,
    Attack,
    attacked_cohort,
    candidates,
    context,
    dropped_by,
    noise,
    nothing,
    scaled,
    sign_flip,
)
from verification import SCORERS, Candidate, load_scorer

SEEN: list[tuple[str, Attack]] = [
    ("norm", noise),
    ("norm", scaled),
    ("cosine", sign_flip),
    ("cosine", noise),
    ("krum", sign_flip),
    ("krum", noise),
    ("krum", scaled),
    ("fltrust", sign_flip),
    ("fltrust", noise),
    ("fltrust", scaled),
    ("holdout", sign_flip),
    ("holdout", noise),
    ("holdout", scaled),
]
UNSEEN: list[tuple[str, Attack]] = [("norm", sign_flip), ("cosine", scaled)]


@pytest.mark.parametrize(("scorer", "attack"), SEEN)
def test_exactly_the_hostile_are_dropped(scorer: str, attack: Attack) -> None:
    # Given three hostile clients of ten, when updates are scored, then exactly those are dropped
    assert dropped_by(scorer, attack) == set(HOSTILE)


@pytest.mark.parametrize(("scorer", "attack"), UNSEEN)
def test_what_a_scorer_doesnt_look_at_it_cant_see(scorer: str, attack: Attack) -> None:
    # Given an attack that leaves lengths as they are, or angles, when updates are scored, then all are kept
    assert dropped_by(scorer, attack) == set()


@pytest.mark.parametrize("attack", [sign_flip, noise, scaled])
def test_a_length_and_an_angle_together_see_all_three(attack: Attack) -> None:
    # Given each attack, when both scorers have their say, then exactly the hostile are dropped
    assert dropped_by("norm", attack) | dropped_by("cosine", attack) == set(HOSTILE)


@pytest.mark.parametrize("scorer", sorted(SCORERS.keys() - {"krum"}))
def test_where_nobody_is_hostile_nobody_is_dropped(scorer: str) -> None:
    # Given ten honest clients, when they are scored, then all are kept
    assert dropped_by(scorer, nothing) == set()


def test_krum_drops_as_many_as_may_be_hostile_whether_they_are_or_not() -> None:
    # Given ten honest clients of which three might be hostile, when they are scored, then three are dropped
    assert len(dropped_by("krum", nothing)) == 3


@pytest.mark.parametrize("scorer", sorted(SCORERS))
@given(data=st.data(), points=st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=5, max_size=9))
def test_another_order_of_clients_gives_each_the_same_score(
    scorer: str, data: st.DataObject, points: list[tuple[float, float]]
) -> None:
    # Given a cohort in two orders, when both are scored, then the scores are equal to the last bit
    cohort = candidates(**{f"c{index}": point for index, point in enumerate(points)})
    about = context(num_byzantine=1, train_root=lambda: {"w": np.ones(2)}, evaluate=lambda each: float(each["w"][0]))
    scores = load_scorer(scorer)(cohort, about)
    assert load_scorer(scorer)(data.draw(st.permutations(cohort)), about) == scores
    # And a cosine is one
    assert scorer not in ("cosine", "fltrust") or all(-1 <= score <= 1 for score in scores.values())


@pytest.mark.parametrize("scorer", sorted(SCORERS))
def test_scorers_change_nothing(scorer: str) -> None:
    # Given a cohort whose arrays are read-only
    clients, about = attacked_cohort(scaled)
    for parameters in (about.global_parameters, *(each.parameters for each in clients)):
        for values in parameters.values():
            values.flags.writeable = False
    # When it is scored, then nothing is written to, and everybody has a score
    assert sorted(load_scorer(scorer)(clients, about)) == sorted(each.client_id for each in clients)


@pytest.mark.parametrize("scorer", sorted(SCORERS.keys() - {"holdout"}))
def test_statistics_that_arent_trained_make_no_difference_to_a_score(scorer: str) -> None:
    # Given an attacked cohort whose clients send variances too, a million times as long as what they trained
    clients, about = attacked_cohort(sign_flip)
    variances = np.random.default_rng(1).standard_normal((len(clients) + 1, 100)) * 1e6
    sent = [
        Candidate(each.client_id, {**each.parameters, "variance": variance}, each.num_examples, each.num_steps)
        for each, variance in zip(clients, variances[1:], strict=True)
    ]
    model = {**about.global_parameters, "variance": variances[0]}
    root = {**(about.train_root or dict)(), "variance": -variances[0]}
    measured = replace(about, global_parameters=model, train_root=lambda: root, buffers=frozenset({"variance"}))
    # When they are scored, then the scores are those without variances, to the last bit
    assert load_scorer(scorer)(sent, measured) == load_scorer(scorer)(clients, about)
