from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.selectors import ConnectedClient, fits, load_selector
from celeriac.selectors.client_statistics import ClientStatistics
from celeriac.selectors.power_of_choice import PowerOfChoice
from tasks.errors import ConfigurationError
from tests.celeriac.selectors.selecting import client, crowds, draws, selection, trained

CLIENTS = [client("carl", 30), client("anna", 10), client("dora", 20), client("bert", 40)]
LOSSES = {"anna": 0.5, "bert": 2.0, "carl": 1.0}


def statistics(**changes: ClientStatistics) -> dict[str, ClientStatistics]:
    """All but dora have trained."""
    return {**{name: trained(loss) for name, loss in LOSSES.items()}, **changes}


@pytest.mark.parametrize(
    ("num_wanted", "chosen"),
    [(1, ["dora"]), (2, ["dora", "bert"]), (3, ["dora", "bert", "carl"]), (9, ["dora", "bert", "carl", "anna"])],
)
def test_of_the_candidates_those_with_the_highest_loss_are_taken_and_new_ones_first(
    num_wanted: int, chosen: list[str]
) -> None:
    # Given so many candidates that all clients are, with losses 0.5, 2 and 1, and one that was never asked
    # When some are chosen, then the new one comes first, then by loss
    assert PowerOfChoice(100)(CLIENTS, selection(num_wanted, statistics())) == chosen


def transcribed(num_wanted: int, num_candidates: int, losses: dict[str, float]) -> dict[frozenset[str], float]:
    """The paper: draw d candidates by p_k, take the m with the highest loss. The chance of each cohort, in full."""
    names = [each.client_id for each in CLIENTS]
    shares = [each.announcement.num_examples / 100 for each in CLIENTS]
    chances: dict[frozenset[str], float] = {}
    for drawn, chance in draws(shares, num_candidates).items():
        by_loss = sorted((losses.get(names[index], math.inf), names[index]) for index in drawn)
        cohort = frozenset(name for _, name in by_loss[-num_wanted:])
        chances[cohort] = chances.get(cohort, 0.0) + chance
    return chances


@pytest.mark.parametrize(
    ("parameter", "num_wanted", "num_candidates"), [("", 1, 2), (":2", 2, 2), (":3", 2, 3), (":1", 2, 2), (":3", 1, 3)]
)
def test_cohorts_have_the_chances_of_the_paper(parameter: str, num_wanted: int, num_candidates: int) -> None:
    # Given clients with 10 to 40 examples, two of which are chosen, and d, which is 2m if it isn't given, and never
    # less than m
    selector = load_selector(f"power-of-choice{parameter}")
    # When cohorts are chosen with 2000 seeds
    cohorts = Counter(
        frozenset(selector(CLIENTS, selection(num_wanted, statistics(), seed=seed))) for seed in range(2000)
    )
    # Then each comes as often as the paper says
    expected = transcribed(num_wanted, num_candidates, LOSSES)
    assert sum(expected.values()) == pytest.approx(1)
    assert set(cohorts) <= set(expected)
    for cohort, chance in expected.items():
        assert abs(cohorts[cohort] - 2000 * chance) <= 5 * (2000 * chance * (1 - chance)) ** 0.5


def test_a_client_that_fails_isnt_chosen_again_and_again() -> None:
    # Given the client with the highest loss, which vanished in round 5, and a new one that failed twice
    known = statistics(
        bert=trained(2.0, round_number=4, last_selected=5, num_missed=1),
        dora=ClientStatistics(num_selected=2, last_selected=5, num_missed=2),
    )
    # When all are candidates in the rounds after
    chosen = {
        number: PowerOfChoice(100)(CLIENTS, selection(4, known, round_number=number, seed=number))
        for number in (6, 7, 8)
    }
    # Then they come last as long as they rest, one round and two, and are back with what is known of them
    assert chosen[6][:2] == ["carl", "anna"]
    assert chosen[7] == ["bert", "carl", "anna", "dora"]
    assert chosen[8] == ["dora", "bert", "carl", "anna"]


def test_who_tells_no_loss_comes_after_those_that_do() -> None:
    # Given a client whose update came without a loss, when all are candidates, then it is the last
    known = statistics(dora=trained(None))
    assert PowerOfChoice(100)(CLIENTS, selection(4, known)) == ["bert", "carl", "anna", "dora"]


def test_of_equal_losses_each_has_its_chance() -> None:
    # Given two clients with as many examples and the same loss, when one is chosen with 400 seeds
    there = [client("anna"), client("bert")]
    known = {"anna": trained(1.0), "bert": trained(1.0)}
    counts = Counter(PowerOfChoice()(there, selection(1, known, seed=seed))[0] for seed in range(400))
    # Then each is in about half of the cases; the standard deviation is 10
    assert abs(counts["anna"] - 200) < 5 * 10


@given(crowd=crowds(), num_wanted=st.integers(1, 12), num_candidates=st.none() | st.integers(1, 12), data=st.data())
def test_whatever_clients_claim_the_cohort_is_a_subset_of_the_right_size_whatever_the_order(
    crowd: tuple[list[ConnectedClient], dict[str, ClientStatistics]],
    num_wanted: int,
    num_candidates: int | None,
    data: st.DataObject,
) -> None:
    # Given clients with whatever they claimed, in two orders
    there, known = crowd
    shuffled = data.draw(st.permutations(there))
    # When a cohort is chosen
    selector = PowerOfChoice(num_candidates)
    chosen = selector(there, selection(num_wanted, known, round_number=10))
    # Then it has the size that is wanted, nobody twice, and the order makes no difference
    assert len(chosen) == len(set(chosen)) == min(num_wanted, len(there))
    assert set(chosen) <= {each.client_id for each in there}
    assert chosen == selector(shuffled, selection(num_wanted, known, round_number=10))
    assert all(fits(selector, each) for each in there)


@pytest.mark.parametrize("parameter", ["0", "-1", "2.5", "all", " 3", "1e3", "1234567890", "٣"])
def test_a_number_of_candidates_that_makes_no_sense_is_refused(parameter: str) -> None:
    # Given something else than a whole number from 1, when it is loaded, then the message says what is allowed
    with pytest.raises(ConfigurationError) as caught:
        load_selector(f"power-of-choice:{parameter}")
    assert str(caught.value) == (
        f"selector 'power-of-choice:{parameter}': after the colon stands how many candidates are drawn, "
        "a whole number from 1, as in power-of-choice:20"
    )
