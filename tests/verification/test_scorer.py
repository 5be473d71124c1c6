from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tests.verification.cohort import candidates, context
from verification import ScoringError, checked_scores, score_of_global
from verification.holdout import score_holdout

COHORT = candidates(anna=[1, 0], bert=[0, 1], carl=[1, 1])


def test_scores_are_floats_in_the_order_of_the_candidates() -> None:
    # Given scores of several kinds of numbers, in another order
    scores = checked_scores({"carl": np.float32(0.5), "anna": 1, "bert": Fraction(1, 4)}, COHORT)
    # Then they are floats, in the candidates' order
    assert list(scores.items()) == [("anna", 1.0), ("bert", 0.25), ("carl", 0.5)]
    assert all(type(score) is float for score in scores.values())


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf, np.float32("nan"), 10**400])
def test_an_update_whose_score_is_not_finite_is_not_scored(score: object) -> None:
    # Given a score that is no finite number, when it is checked, then the client is left out, and nobody else
    assert checked_scores({"anna": score, "bert": 2.0, "carl": 3}, COHORT) == {"bert": 2.0, "carl": 3.0}


def test_an_update_that_the_scorer_left_out_is_not_scored() -> None:
    # Given scores of two clients of three, when they are checked, then the third has none
    assert checked_scores({"carl": 1, "anna": 2}, COHORT) == {"anna": 2.0, "carl": 1.0}
    assert checked_scores({}, COHORT) == {}


@pytest.mark.parametrize("scores", [None, [1.0, 2.0, 3.0], {"anna", "bert"}, 0.5])
def test_what_is_no_mapping_is_refused(scores: object) -> None:
    # Given something else than a mapping, when it is checked, then its type is told
    with pytest.raises(ScoringError, match=f"a scorer returned {type(scores).__name__}: a mapping"):
        checked_scores(scores, COHORT)


def test_scores_of_strangers_are_refused() -> None:
    # Given a score of somebody who is no candidate, when it is checked, then that one is named
    with pytest.raises(ScoringError, match=r"a scorer scored \['dora'\]: only the updates"):
        checked_scores({"anna": 1.0, "dora": 1.0}, COHORT)


@pytest.mark.parametrize("score", ["0.5", None, bool(1), np.bool_(1), 1j, np.array([1.0])])
def test_scores_that_are_no_numbers_are_refused(score: object) -> None:
    # Given a score of another kind, when it is checked, then client and kind are told
    with pytest.raises(ScoringError, match=rf"a scorer scored 'bert' with {type(score).__name__}: only numbers"):
        checked_scores({"bert": score}, COHORT)


def test_the_global_model_is_scored_as_an_update_that_changed_nothing() -> None:
    # Given held-out data on which the accuracy is a quarter of the first parameter
    about = context({"w": np.array([3.0, 0.0])}, evaluate=lambda parameters: float(parameters["w"][0]) / 4)
    # When the global model is scored, then it is 3 / 4
    assert score_of_global(score_holdout, about) == 0.75


def test_a_scorer_that_gives_the_global_model_no_score_says_so() -> None:
    # Given a scorer that can't score it, when it is asked to, then the message says what can't be used
    with pytest.raises(ScoringError, match="gives the global model no score: a threshold relative to it"):
        score_of_global(lambda candidates, context: {"@global": np.nan}, context())
