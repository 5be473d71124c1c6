from __future__ import annotations

import math

import pytest

from tasks.arrays import Arrays
from tests.verification.cohort import candidates, context
from verification import ScoringError, checked_scores
from verification.holdout import score_holdout


def first_of(parameters: Arrays) -> float:
    return float(parameters["w"][0])


def test_the_score_is_the_accuracy_of_the_clients_parameters() -> None:
    # Given held-out data on which the accuracy is the first parameter, when clients are scored, then it is that
    cohort = candidates(anna=[0.75, 1], bert=[0.5, 2])
    assert score_holdout(cohort, context(evaluate=first_of)) == {"anna": 0.75, "bert": 0.5}


def test_clients_may_be_scored_in_parts() -> None:
    # Given a cohort and its two parts, when they are scored, then the parts' scores are the whole's
    cohort = candidates(anna=[0.75, 1], bert=[0.5, 2], carl=[0.25, 3])
    about = context(evaluate=first_of)
    assert score_holdout(cohort[:1], about) | score_holdout(cohort[1:], about) == score_holdout(cohort, about)


def test_parameters_that_cant_be_evaluated_are_not_scored() -> None:
    # Given parameters whose accuracy is NaN, when the scores are checked, then only the other has one
    cohort = candidates(anna=[math.nan, 1], bert=[0.5, 2])
    assert checked_scores(score_holdout(cohort, context(evaluate=first_of)), cohort) == {"bert": 0.5}


def test_without_held_out_data_it_cant_score() -> None:
    # Given an orchestrator without held-out data, when it scores, then it says so
    with pytest.raises(ScoringError, match="holdout needs held-out data of the orchestrator"):
        score_holdout(candidates(anna=[1, 0]), context())
