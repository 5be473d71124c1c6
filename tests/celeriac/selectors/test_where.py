from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.selectors import ConnectedClient, fits, load_selector, needs
from celeriac.selectors.uniform import select_uniform
from tasks.announcement import Hardware
from tasks.errors import ConfigurationError, TooFewFitError
from tests.celeriac.selectors.selecting import client, selection


def hardware(num_cpus: int, memory_gb: float) -> Hardware:
    return Hardware(num_cpus=num_cpus, memory_bytes=round(memory_gb * 10**9))


CLIENTS = [
    client("dora", 99, labels={"3": 99}, hardware=hardware(8, 64)),
    client("anna", 100, labels={"3": 60, "7": 40}, hardware=hardware(4, 8)),
    client("carl", 500, labels={"7": 500, "3": 0}, hardware=hardware(2, 7.9)),
    client("bert", 1000, labels={"3": 1, "7": 998, "left foot": 1}, hardware=hardware(1, 16)),
]


@pytest.mark.parametrize(
    ("conditions", "fitting"),
    [
        ("labels=3", ["anna", "bert", "dora"]),
        ("labels=3+7", ["anna", "bert"]),
        ("labels=left foot", ["bert"]),
        ("min-examples=100", ["anna", "bert", "carl"]),
        ("min-examples=101", ["bert", "carl"]),
        ("min-cpus=4", ["anna", "dora"]),
        ("min-memory-gb=8", ["anna", "bert", "dora"]),
        ("min-memory-gb=7.9", ["anna", "bert", "carl", "dora"]),
        ("labels=3+7,min-examples=100,min-cpus=4,min-memory-gb=8", ["anna"]),
        ("min-memory-gb=16, labels=3", ["bert", "dora"]),
    ],
)
def test_those_fit_for_whom_all_conditions_hold(conditions: str, fitting: list[str]) -> None:
    # Given four clients, when all that fit are wanted, then these are chosen
    selector = load_selector(f"where:{conditions}")
    assert sorted(selector(CLIENTS, selection(4, {}))) == fitting
    # And these may join a round that is open
    assert sorted(each.client_id for each in CLIENTS if fits(selector, each)) == fitting


@pytest.mark.parametrize(
    ("conditions", "details"),
    [
        ("min-examples=100", ()),
        ("labels=3+7", ("labels",)),
        ("min-cpus=4,min-examples=1", ("num_cpus",)),
        ("min-memory-gb=8,min-cpus=4,labels=3", ("labels", "num_cpus", "memory_bytes")),
    ],
)
def test_clients_are_to_tell_what_conditions_are_about(conditions: str, details: tuple[str, ...]) -> None:
    # Given conditions, then clients tell what they are about, and the same fit as if they told all
    selector = load_selector(f"where:{conditions}")
    assert needs(selector) == details
    told = [ConnectedClient(each.client_id, each.announcement.telling(details)) for each in CLIENTS]
    assert [fits(selector, each) for each in told] == [fits(selector, each) for each in CLIENTS]


@given(num_wanted=st.integers(1, 5), seed=st.integers(0, 2**32), there=st.permutations(CLIENTS))
def test_among_those_that_fit_the_choice_is_at_random(num_wanted: int, seed: int, there: list[ConnectedClient]) -> None:
    # Given clients in any order, when some are wanted of those that fit
    chosen = load_selector("where:labels=3")(there, selection(num_wanted, {}, seed=seed))
    # Then it is as if there were no others
    alone = [each for each in there if each.client_id != "carl"]
    assert chosen == select_uniform(alone, selection(num_wanted, {}, seed=seed))
    assert len(chosen) == min(num_wanted, 3)


def test_each_that_fits_has_the_same_chance() -> None:
    # Given three clients that fit, when two are chosen 1200 times
    selector = load_selector("where:labels=3")
    counts = Counter(name for seed in range(1200) for name in selector(CLIENTS, selection(2, {}, seed=seed)))
    # Then each is chosen about 800 times; the standard deviation is sqrt(1200 * 2/9) = 16
    assert sorted(counts) == ["anna", "bert", "dora"]
    assert all(abs(count - 800) < 5 * 16.4 for count in counts.values())


def test_too_few_that_fit_are_told_with_what_was_asked() -> None:
    # Given two clients that fit where three are needed, when a cohort is chosen, then the message has it all
    with pytest.raises(TooFewFitError) as caught:
        load_selector("where:labels=3+7")(CLIENTS, selection(4, {}, num_needed=3))
    assert str(caught.value) == "2 of 4 connected clients fit 'where:labels=3+7', 3 are needed"
    assert (caught.value.num_fit, caught.value.num_needed) == (2, 3)


@pytest.mark.parametrize(
    ("conditions", "problem"),
    [
        ("", "unknown condition '': allowed are labels=A+B, min-examples=100, min-cpus=4 and min-memory-gb=8, "),
        ("min-cpu=4", "unknown condition 'min-cpu': did you mean 'min-cpus'? allowed are labels=A+B, "),
        ("labels=3,", "unknown condition '': allowed are "),
        ("labels=3,labels=7", "labels stands there twice"),
        ("labels", "labels can't be '': allowed are "),
        ("labels=3++7", "labels can't be '3++7': allowed are "),
        ("min-examples=many", "min-examples can't be 'many': allowed are "),
        ("min-examples=0", "min-examples can't be '0': allowed are "),
        ("min-examples=-1", "min-examples can't be '-1': allowed are "),
        ("min-cpus=1.5", "min-cpus can't be '1.5': allowed are "),
        ("min-cpus=٣", "min-cpus can't be '٣': allowed are "),
        ("min-memory-gb=8GB", "min-memory-gb can't be '8GB': allowed are "),
        ("min-memory-gb=0.0", "min-memory-gb can't be '0.0': allowed are "),
        ("min-memory-gb=inf", "min-memory-gb can't be 'inf': allowed are "),
    ],
)
def test_conditions_that_make_no_sense_are_refused(conditions: str, problem: str) -> None:
    # Given conditions with something wrong, when they are loaded, then one line says what, and what is allowed
    with pytest.raises(ConfigurationError) as caught:
        load_selector(f"where:{conditions}")
    assert str(caught.value).startswith(f"selector 'where:{conditions}': {problem}")
    assert "\n" not in str(caught.value)


def test_without_conditions_it_is_refused_too() -> None:
    # Given the bare name, when it is loaded, then the message says what belongs after it
    with pytest.raises(ConfigurationError, match="allowed are labels=A"):
        load_selector("where")
