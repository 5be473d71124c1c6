"""The table of attacks in short: ten clients on the digits, three of them hostile; a few seeds and scorers."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

import pytest

from benchmarks.attacks import POINT, Outcome, Trial, run_trial

SEED = 1
SEEDS = (1, 2, 3)
ATTACKS = ("sign flip", "noise", "label flip", "scaled")
JUDGES = ("holdout", "krum", "fltrust", "norm,fltrust")
"""Scorers that stand all four attacks, with their default thresholds."""


def over_seeds(attack: str, scorer: str = "", **changes: Any) -> Sequence[Outcome]:
    """The same trial by each of the seeds: by one alone a model may be a point better or worse."""
    return [run_trial(Trial(attack, scorer, seed, **changes)) for seed in SEEDS]


def accuracy(outcomes: Sequence[Outcome]) -> float:
    return mean(outcome.accuracy for outcome in outcomes)


@pytest.fixture(scope="module")
def honest() -> Sequence[Outcome]:
    """The runs of the seven honest clients alone."""
    return over_seeds("", is_without_hostile=True)


@pytest.fixture(scope="module")
def undisturbed(honest: Sequence[Outcome]) -> float:
    """Their mean accuracy."""
    return accuracy(honest)


@pytest.fixture(scope="module")
def without_them(honest: Sequence[Outcome]) -> Outcome:
    """The run by ``SEED`` of the seven honest clients alone."""
    return honest[SEEDS.index(SEED)]


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_spoils_the_model_unless_updates_are_verified(attack: str, undisturbed: float) -> None:
    # Given seven honest clients and three that are hostile
    # When nothing is verified, then the final model is more than a point worse than without the three
    unverified = over_seeds(attack)
    assert accuracy(unverified) < undisturbed - POINT
    assert all((each.hostile_rejected, each.honest_rejected) == (0, 0) for each in unverified)


@pytest.mark.parametrize("scorer", JUDGES)
@pytest.mark.parametrize("attack", ATTACKS)
def test_where_updates_are_verified_an_attack_leaves_the_model_as_good(
    attack: str, scorer: str, undisturbed: float
) -> None:
    # Given seven honest clients and three that are hostile
    # When updates are verified, then the final model is within a point of the run without the three
    verified = over_seeds(attack, scorer)
    assert accuracy(verified) >= undisturbed - POINT, verified

    # And hostile updates are dropped while most honest ones are taken, whatever the seed
    assert all(each.hostile_rejected >= 0.9 for each in verified), verified
    assert all(each.honest_rejected <= 0.25 for each in verified), verified


@pytest.mark.parametrize("attack", ["sign flip", "noise", "scaled"])
def test_multi_krum_stands_attacks_without_verification(attack: str, undisturbed: float) -> None:
    # Given seven honest clients and three that are hostile, whose updates are all taken
    # When they are aggregated by Multi-Krum, then the model is within a point of the run without the three
    outcomes = over_seeds(attack, aggregator="multi_krum")
    assert accuracy(outcomes) >= undisturbed - POINT
    assert all((each.hostile_rejected, each.honest_rejected) == (0, 0) for each in outcomes)


@pytest.mark.parametrize("attack", ["", "sign flip", "flip x5", "weak sign flip", "copy"])
def test_what_the_docs_advise_where_nobody_holds_data_out_stands_all_attacks(
    attack: str, without_them: Outcome
) -> None:
    # Given seven honest clients and three that are hostile, or that aren't
    # When nearest neighbours are mixed before the geometric median, then the model is within two points
    outcome = run_trial(Trial(attack, "", SEED, aggregator="geometric_median", mix="nnm"))
    assert outcome.accuracy >= without_them.accuracy - 2 * POINT


def test_without_mixing_the_geometric_median_is_held_back_by_a_long_flip(without_them: Outcome) -> None:
    # Given three that flip signs and go five times as far, when the geometric median is taken of what they sent
    outcome = run_trial(Trial("flip x5", "", SEED, aggregator="geometric_median"))
    # Then the model is more than two points worse than without them
    assert outcome.accuracy < without_them.accuracy - 2 * POINT


def test_where_the_hostile_alone_are_dropped_the_model_is_that_of_the_honest_to_the_last_bit(
    without_them: Outcome,
) -> None:
    # Given scaled updates, which are a good deal longer than all honest ones
    # When the seven shortest are taken
    verified = run_trial(Trial("scaled", "norm", SEED, threshold="best:70%"))

    # Then these are the honest ones in all rounds, and the three have left no trace
    assert (verified.hostile_rejected, verified.honest_rejected) == (1, 0)
    assert verified.digest == without_them.digest
