"""The table of attacks in short: ten clients on the digits, three of them hostile; one seed, a few scorers."""

from __future__ import annotations

import pytest

from benchmarks.attacks import POINT, Outcome, Trial, run_trial

SEED = 1
MARGIN = 2 * POINT
"""What one seed alone may be off by."""
JUDGES = ("holdout", "krum", "fltrust", "norm,fltrust")
"""Scorers that stand all four attacks, with their default thresholds."""


@pytest.fixture(scope="module")
def without_them() -> Outcome:
    """The run of the seven honest clients alone."""
    return run_trial(Trial("", "", SEED, is_without_hostile=True))


@pytest.mark.parametrize("attack", ["sign flip", "noise", "label flip", "scaled"])
def test_an_attack_spoils_the_model_unless_updates_are_verified(attack: str, without_them: Outcome) -> None:
    # Given seven honest clients and three that are hostile

    # When nothing is verified, then the final model is more than two points worse than without the three
    unverified = run_trial(Trial(attack, "", SEED))
    assert unverified.accuracy < without_them.accuracy - MARGIN
    assert (unverified.hostile_rejected, unverified.honest_rejected) == (0, 0)

    for scorer in JUDGES:
        # When updates are verified, then it is within two points of the run without them
        verified = run_trial(Trial(attack, scorer, SEED))
        assert verified.accuracy >= without_them.accuracy - MARGIN, (scorer, verified)

        # And hostile updates are dropped while most honest ones are taken
        assert verified.hostile_rejected >= 0.9, (scorer, verified)
        assert verified.honest_rejected <= 0.25, (scorer, verified)


@pytest.mark.parametrize("attack", ["sign flip", "noise", "scaled"])
def test_multi_krum_stands_attacks_without_verification(attack: str, without_them: Outcome) -> None:
    # Given seven honest clients and three that are hostile, whose updates are all taken
    # When they are aggregated by Multi-Krum, then the model is within two points of the run without the three
    outcome = run_trial(Trial(attack, "", SEED, aggregator="multi_krum"))
    assert outcome.accuracy >= without_them.accuracy - MARGIN
    assert (outcome.hostile_rejected, outcome.honest_rejected) == (0, 0)


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
