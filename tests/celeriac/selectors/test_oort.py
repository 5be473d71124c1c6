from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.selectors import ConnectedClient, fits
from celeriac.selectors.client_statistics import ClientStatistics
from celeriac.selectors.oort import select_oort, utilities_of
from tests.celeriac.selectors.selecting import client, crowds, draws, selection, trained

NAMES = ("anna", "bert", "carl", "dora", "emil")


def clients(*client_ids: str) -> list[ConnectedClient]:
    return [client(client_id) for client_id in client_ids]


def test_utilities_are_those_worked_by_hand() -> None:
    # Given statistical utilities 100 * 2 = 200, 50 * 1 = 50 and 10 * 0.5 = 5, last told in rounds 9, 5 and 1
    explored = [
        trained(2.0, round_number=9, num_examples=100, duration_s=8.0),
        trained(1.0, round_number=5, num_examples=50, duration_s=2.0),
        trained(0.5, round_number=1, num_examples=10, duration_s=4.0),
    ]
    # When their utilities are taken in round 10
    utilities = utilities_of(explored, 10)
    # Then 200 is clipped at the 95 % quantile, 50 + 0.9 * 150 = 185, by which all are divided: 1, 0.27027, 0.02703;
    # the bonus sqrt(0.1 ln 10 / L) is 0.15995, 0.21460 and 0.47985; and the first is twice as slow as the median of 4 s
    assert utilities.tolist() == pytest.approx([1.15995 / 4, 0.27027 + 0.21460, 0.02703 + 0.47985], abs=1e-5)


def transcribed(explored: Sequence[ClientStatistics], round_number: int) -> list[float]:
    """Algorithm 1, lines 9 to 12, in plain Python, with the mean loss and the median duration."""
    statistical = [known.num_examples * abs(known.train_loss or 0.0) for known in explored]
    place = 0.95 * (len(explored) - 1)
    ordered = sorted(statistical)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    bound = low + (place - math.floor(place)) * (high - low)
    preferred_s = sorted(known.duration_s for known in explored)[(len(explored) - 1) // 2]
    utilities = []
    for known, value in zip(explored, statistical, strict=True):
        utility = min(value, bound) / bound if bound else 0.0
        utility += math.sqrt(0.1 * math.log(round_number) / known.last_accepted)
        if preferred_s < known.duration_s:
            utility *= (preferred_s / known.duration_s) ** 2
        utilities.append(utility)
    return utilities


EXPLORED = st.builds(
    trained,
    train_loss=st.none() | st.floats(1e-6, 100),
    round_number=st.integers(1, 19),
    num_examples=st.integers(0, 1000),
    duration_s=st.floats(0, 100),
)


@given(explored=st.lists(EXPLORED, min_size=1, max_size=30), round_number=st.integers(20, 1000))
def test_utilities_are_those_of_the_algorithm(explored: list[ClientStatistics], round_number: int) -> None:
    # Given any clients that were explored, when their utilities are taken, then they are the paper's
    assert utilities_of(explored, round_number).tolist() == pytest.approx(transcribed(explored, round_number))


def test_the_first_round_takes_new_ones_each_with_the_same_chance() -> None:
    # Given five clients of which nothing is known, when two are chosen 1000 times
    counts = Counter(
        name
        for seed in range(1000)
        for name in select_oort(clients(*NAMES), selection(2, {}, round_number=1, seed=seed))
    )
    # Then each is chosen about 400 times; the standard deviation is sqrt(1000 * 0.4 * 0.6) = 15.5
    assert all(abs(counts[name] - 400) < 5 * 15.5 for name in NAMES)


@pytest.mark.parametrize(
    ("round_number", "num_new"),
    [
        (2, 9),  # 10 * 0.9 * 0.98 = 8.82, rounded up
        (21, 7),  # 10 * 0.9 * 0.98^20 = 6.01
        (22, 6),  # 10 * 0.9 * 0.98^21 = 5.89
        (75, 3),  # 10 * 0.9 * 0.98^74 = 2.02
        (76, 2),  # 10 * 0.9 * 0.98^75 = 1.98, so 10 * 0.2
        (1000, 2),
    ],
)
def test_fewer_and_fewer_new_ones_are_explored(round_number: int, num_new: int) -> None:
    # Given ten clients that are known and ten that are new
    known = {f"known-{index}": trained(1.0 + index) for index in range(10)}
    there = clients(*known, *(f"new-{index}" for index in range(10)))
    # When ten are chosen, then so many are new
    chosen = select_oort(there, selection(10, known, round_number=round_number))
    assert sum(name.startswith("new") for name in chosen) == num_new
    assert len(set(chosen)) == 10


def test_where_there_are_too_few_of_one_kind_the_others_fill_the_cohort() -> None:
    # Given one new client, and one that is known, each among four of the other kind
    one_new = {name: trained(1.0) for name in NAMES if name != "anna"}
    one_known = {"anna": trained(1.0)}
    # When all five are wanted early and late, then all are chosen
    for known in (one_new, one_known):
        for round_number in (2, 500):
            assert sorted(select_oort(clients(*NAMES), selection(5, known, round_number=round_number))) == list(NAMES)


@pytest.mark.parametrize("num_wanted", [1, 2, 3])
def test_known_clients_are_drawn_by_utility_near_the_cut_off_or_above(num_wanted: int) -> None:
    # Given five known clients, of which carl and dora are within 5 % of each other, in round 30
    examples = {"anna": 1000, "bert": 400, "carl": 310, "dora": 300, "emil": 10}
    known = {name: trained(1.0, round_number=29, num_examples=number) for name, number in examples.items()}
    utilities = transcribed(list(known.values()), 30)
    # When cohorts are chosen with 2000 seeds
    cohorts = Counter(
        frozenset(select_oort(clients(*reversed(NAMES)), selection(num_wanted, known, round_number=30, seed=seed)))
        for seed in range(2000)
    )
    # Then the chances are those of lines 13 to 15, worked out in full
    cut_off = 0.95 * sorted(utilities)[-num_wanted]
    admitted = [index for index, utility in enumerate(utilities) if utility >= cut_off]
    assert len(admitted) == {1: 1, 2: 2, 3: 4}[num_wanted]
    expected: Counter[frozenset[str]] = Counter()
    for drawn, chance in draws([utilities[index] for index in admitted], num_wanted).items():
        expected[frozenset(NAMES[admitted[index]] for index in drawn)] += chance  # type: ignore[assignment]
    assert set(cohorts) == set(expected)
    for cohort, chance in expected.items():
        assert abs(cohorts[cohort] - 2000 * chance) <= 5 * (2000 * chance * (1 - chance)) ** 0.5


def test_of_two_clients_that_are_as_useful_the_fast_one_is_chosen() -> None:
    # Given two clients with the same loss and examples, one of which takes ten times as long
    known = {"anna": trained(1.0, duration_s=30.0), "bert": trained(1.0, duration_s=3.0)}
    # When one is chosen, then it is the fast one, as the other's utility is a hundredth
    chosen = {select_oort(clients("anna", "bert"), selection(1, known, seed=seed))[0] for seed in range(20)}
    assert chosen == {"bert"}


def test_those_that_failed_rest_and_are_taken_only_where_there_are_no_others() -> None:
    # Given a client with a high loss that vanished in round 5, and a new one that failed in it
    known = {
        "anna": trained(9.0, round_number=4, last_selected=5, num_missed=1),
        "bert": ClientStatistics(num_selected=1, last_selected=5, num_missed=1),
        "carl": trained(1.0),
    }
    # When cohorts are chosen in round 6, then the others come first, and they fill up what is left
    there = clients("anna", "bert", "carl", "dora")
    for seed in range(20):
        assert sorted(select_oort(there, selection(2, known, round_number=6, seed=seed))) == ["carl", "dora"]
    assert len(select_oort(there, selection(3, known, round_number=6))) == 3
    # And in round 7 the one that failed is explored, as is dora
    seen = {name for seed in range(20) for name in select_oort(there, selection(1, known, round_number=7, seed=seed))}
    assert seen == {"bert", "dora"}


@given(crowd=crowds(), num_wanted=st.integers(1, 12), data=st.data())
def test_whatever_clients_claim_the_cohort_is_a_subset_of_the_right_size_whatever_the_order(
    crowd: tuple[list[ConnectedClient], dict[str, ClientStatistics]], num_wanted: int, data: st.DataObject
) -> None:
    # Given clients with whatever they claimed, in two orders
    there, known = crowd
    shuffled = data.draw(st.permutations(there))
    # When a cohort is chosen
    chosen = select_oort(there, selection(num_wanted, known, round_number=10))
    # Then it has the size that is wanted, nobody twice, and the order makes no difference
    assert len(chosen) == len(set(chosen)) == min(num_wanted, len(there))
    assert set(chosen) <= {each.client_id for each in there}
    assert chosen == select_oort(shuffled, selection(num_wanted, known, round_number=10))
    assert all(fits(select_oort, each) for each in there)
