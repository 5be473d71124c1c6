from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verification.derangement import PeerScore, derangement, scores_of_clients, verifiers

IDS = st.lists(st.text("abcdefgh", min_size=1), unique=True, max_size=20)
ABC = {"a": "b", "b": "c", "c": "a"}
"""a scores b's update, b scores c's, c scores a's."""


@given(ids=IDS, seed=st.integers(0, 2**32))
def test_nobody_scores_its_own_and_everybody_is_scored_once(ids: list[str], seed: int) -> None:
    # Given any clients but a single one
    assignment = derangement(ids, np.random.default_rng(seed))
    # Then each is a verifier, each is scored by one, and none by itself
    expected = sorted(ids) if len(ids) > 1 else []
    assert list(assignment) == expected
    assert sorted(assignment.values()) == expected
    assert all(verifier != client_id for verifier, client_id in assignment.items())


@given(ids=IDS, seed=st.integers(0, 2**32), data=st.data())
def test_a_seed_decides_and_the_order_of_clients_doesnt(ids: list[str], seed: int, data: st.DataObject) -> None:
    # Given clients in two orders, when one seed assigns them, then the assignments are equal
    shuffled = data.draw(st.permutations(ids))
    assert derangement(shuffled, np.random.default_rng(seed)) == derangement(ids, np.random.default_rng(seed))


def test_two_clients_score_each_other_and_one_has_nobody() -> None:
    # Given two, one and no clients, when they are assigned, then there is no choice
    rng = np.random.default_rng(0)
    assert derangement(["b", "a"], rng) == {"a": "b", "b": "a"}
    assert derangement(["a"], rng) == {}
    assert derangement([], rng) == {}


@pytest.mark.parametrize(("num_clients", "num_derangements"), [(3, 2), (4, 9), (5, 44)])
def test_every_derangement_is_as_likely_as_any_other(num_clients: int, num_derangements: int) -> None:
    # Given 3, 4 or 5 clients: of 6, 24, 120 permutations 2, 9, 44 leave nobody in place
    rng = np.random.default_rng(11)
    ids = "abcde"[:num_clients]
    # When they are assigned 400 times as often as there are derangements
    counts = Counter(tuple(derangement(ids, rng).values()) for _ in range(400 * num_derangements))
    # Then each came up about 400 times; the standard deviation is below sqrt(400) = 20
    assert len(counts) == num_derangements
    assert all(abs(count - 400) < 5 * 20 for count in counts.values())


def test_a_client_given_twice_is_refused() -> None:
    # Given a name twice, when it is assigned, then it is refused
    with pytest.raises(ValueError, match=r"a client is given twice: \['a', 'b', 'b'\]"):
        derangement(["b", "a", "b"], np.random.default_rng(0))


def test_verifiers_are_the_assignment_the_other_way_round() -> None:
    # Given an assignment, when it is turned, then each client has its verifier
    assert list(verifiers(ABC).items()) == [("a", "c"), ("b", "a"), ("c", "b")]
    assert verifiers({}) == {}


@given(ids=IDS, seed=st.integers(0, 2**32), data=st.data())
def test_scores_are_paired_with_the_right_update_in_any_order_of_arrival(
    ids: list[str], seed: int, data: st.DataObject
) -> None:
    # Given that every verifier sends a score of its own, some of them twice, in any order
    assignment = derangement(ids, np.random.default_rng(seed))
    sent = [PeerScore(each, assignment[each], float(index)) for index, each in enumerate(assignment)]
    again = data.draw(st.lists(st.sampled_from(sent))) if sent else []
    arrived = data.draw(st.permutations([*sent, *again]))
    # When they are paired, then each client has its verifier's score
    assert scores_of_clients(assignment, arrived) == {each.client_id: each.score for each in sent}
    assert list(scores_of_clients(assignment, arrived)) == sorted(assignment)


def test_a_verifier_that_vanished_leaves_its_client_without_a_score() -> None:
    # Given scores of two verifiers of three, when they are paired, then b's client c has none
    sent = [PeerScore("a", "b", 0.5), PeerScore("c", "a", 0.25)]
    assert scores_of_clients(ABC, sent) == {"a": 0.25, "b": 0.5}
    assert scores_of_clients(ABC, []) == {}


@pytest.mark.parametrize(
    "bad",
    [
        PeerScore("stranger", "b", 1.0),
        PeerScore("a", "c", 1.0),
        PeerScore("a", "a", 1.0),
        PeerScore("b", "b", 1.0),
        PeerScore("a", "stranger", 1.0),
    ],
)
def test_scores_that_nobody_asked_for_dont_count(bad: PeerScore) -> None:
    # Given the score that was asked for, and one that was not, in both orders
    good = PeerScore("a", "b", 0.5)
    # When they are paired, then only what was asked for is there
    assert scores_of_clients(ABC, [good, bad]) == scores_of_clients(ABC, [bad, good]) == {"b": 0.5}


def test_a_score_of_ones_own_never_counts_whatever_the_assignment() -> None:
    # Given an assignment that is none, when it is scored, then it makes no difference
    assert scores_of_clients({"a": "a"}, [PeerScore("a", "a", 1.0)]) == {}


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_dont_count(score: float) -> None:
    # Given a score that is no number, when it is paired, then its client has none, and the others have theirs
    assert scores_of_clients(ABC, [PeerScore("a", "b", score), PeerScore("b", "c", 0.5)]) == {"c": 0.5}


@pytest.mark.parametrize("other", [0.75, math.nan, math.inf])
def test_of_scores_that_contradict_each_other_neither_counts(other: float) -> None:
    # Given two scores of one verifier for one update, in both orders, when they are paired, then neither counts
    one, two = PeerScore("a", "b", 0.5), PeerScore("a", "b", other)
    assert scores_of_clients(ABC, [one, two]) == scores_of_clients(ABC, [two, one]) == {}
    # And the same twice counts once
    assert scores_of_clients(ABC, [one, one]) == {"b": 0.5}
