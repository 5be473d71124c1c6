from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.selectors import SELECTORS, ConnectedClient, Selection, load_selector, needs
from celeriac.selectors.connected import select_connected
from celeriac.selectors.oort import select_oort
from celeriac.selectors.power_of_choice import PowerOfChoice
from celeriac.selectors.uniform import select_uniform
from celeriac.selectors.weighted_sampling import draw
from celeriac.selectors.where import Where
from tasks.errors import ConfigurationError
from tests.celeriac.selectors.selecting import draws
from tests.support import announcement


def clients(*client_ids: str) -> list[ConnectedClient]:
    return [ConnectedClient(client_id, announcement(client_id)) for client_id in client_ids]


def selection(num_wanted: int, seed: int = 0) -> Selection:
    return Selection(1, num_wanted, np.random.default_rng(seed))


def test_connected_takes_those_that_have_been_there_longest() -> None:
    # Given clients in the order in which they connected, when two are chosen, then they are the first
    there = clients("carl", "anna", "bert")
    assert select_connected(there, selection(2)) == ["carl", "anna"]
    assert select_connected(there, selection(9)) == ["carl", "anna", "bert"]


@given(num_clients=st.integers(1, 12), num_wanted=st.integers(1, 15), seed=st.integers(0, 2**32), data=st.data())
def test_random_takes_as_many_as_wanted_whatever_the_order(
    num_clients: int, num_wanted: int, seed: int, data: st.DataObject
) -> None:
    # Given clients in two orders
    there = clients(*(f"client-{index}" for index in range(num_clients)))
    shuffled = data.draw(st.permutations(there))
    # When a seed chooses
    chosen = select_uniform(there, selection(num_wanted, seed))
    # Then the order makes no difference, and nobody is chosen twice
    assert chosen == select_uniform(shuffled, selection(num_wanted, seed))
    assert len(chosen) == len(set(chosen)) == min(num_wanted, num_clients)
    assert set(chosen) <= {client.client_id for client in there}


def test_random_gives_everybody_the_same_chance() -> None:
    # Given five clients
    there = clients("anna", "bert", "carl", "dora", "emil")
    rng = np.random.default_rng(1)
    # When two are chosen 2000 times
    counts = Counter(name for _ in range(2000) for name in select_uniform(there, Selection(1, 2, rng)))
    # Then each is chosen about 800 times; the standard deviation is sqrt(2000 * 0.4 * 0.6) = 22
    assert sum(counts.values()) == 4000
    assert all(abs(count - 800) < 5 * 22 for count in counts.values())


def test_other_seeds_choose_others() -> None:
    # Given ten clients, when 20 seeds choose three each, then there are many cohorts
    there = clients(*(f"client-{index}" for index in range(10)))
    cohorts = {tuple(select_uniform(there, selection(3, seed))) for seed in range(20)}
    assert len(cohorts) >= 15


def test_selectors_are_found_by_name_or_are_the_users_own() -> None:
    # Given the registry, when names are looked for, then these are there
    assert sorted(SELECTORS) == ["connected", "oort", "power-of-choice", "random", "where"]
    assert load_selector("connected") is select_connected
    assert load_selector("random") is select_uniform
    assert load_selector("oort") is select_oort
    assert load_selector("power-of-choice") == PowerOfChoice(None)
    assert load_selector("power-of-choice:20") == PowerOfChoice(20)
    assert isinstance(load_selector("where:min-cpus=4"), Where)
    assert load_selector("celeriac.selectors.connected:select_connected") is select_connected


class Declaring:
    """A selector of one's own that says what it goes by."""

    def __init__(self, declared: object) -> None:
        self.needs = declared

    def __call__(self, clients: Sequence[ConnectedClient], selection: Selection) -> list[str]:
        return [client.client_id for client in clients]


by_both = Declaring({"memory_bytes", "labels"})
by_one_text = Declaring("labels")
by_number = Declaring(3)
by_nothing_known = Declaring(["labels", "label"])
by_a_list = Declaring([["labels"]])


@pytest.mark.parametrize("name", ["connected", "oort", "power-of-choice", "random"])
def test_built_in_selectors_need_no_details_of_clients(name: str) -> None:
    # Given a selector that goes by no details, then it needs none, and chooses among clients that tell none
    selector = load_selector(name)
    assert needs(selector) == ()
    there = [ConnectedClient(each.client_id, each.announcement.telling(())) for each in clients("anna", "bert")]
    assert set(selector(there, selection(2))) == {"anna", "bert"}


def test_a_selector_of_ones_own_needs_what_it_declares() -> None:
    # Given selectors of the user's own, then one needs what it says, and one that says nothing needs nothing
    assert needs(load_selector(f"{__name__}:by_both")) == ("labels", "memory_bytes")
    assert needs(load_selector("tests.support:select_last")) == ()


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("by_one_text", "needs is 'labels': a set of names is needed: labels, num_cpus, memory_bytes, accelerator"),
        ("by_number", "needs is 3: a set of names is needed: labels, num_cpus, memory_bytes, accelerator"),
        (
            "by_nothing_known",
            "needs has 'label': did you mean 'labels'? known are accelerator, labels, memory_bytes, num_cpus",
        ),
        ("by_a_list", "needs has ['labels']: "),
    ],
)
def test_needs_that_are_no_names_of_details_are_refused(name: str, problem: str) -> None:
    # Given a selector that needs what there isn't, when it is loaded, then one line says what is wrong
    with pytest.raises(ConfigurationError) as caught:
        load_selector(f"{__name__}:{name}")
    assert str(caught.value).startswith(f"selector '{__name__}:{name}': {problem}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spec", ["random:choice", "connected:", "oort:5"])
def test_a_built_in_name_comes_before_a_module_and_takes_no_parameter(spec: str) -> None:
    # Given the name of a selector that is a module's name, too, when it is loaded, then it isn't the module's
    with pytest.raises(ConfigurationError, match=r"takes nothing after a colon$"):
        load_selector(spec)


def test_a_draw_by_weight_has_the_chances_of_one_drawn_after_the_other() -> None:
    # Given weights, one of which is 0
    weights = [1.0, 2.0, 0.0, 5.0]
    rng = np.random.default_rng(3)
    # When two are drawn 4000 times
    counts = Counter(tuple(draw(rng, weights, 2)) for _ in range(4000))
    # Then each pair, in its order, is drawn as often as it should be, and the one with weight 0 never
    expected = draws(weights, 2)
    assert set(counts) == set(expected)
    for pair, chance in expected.items():
        assert abs(counts[pair] - 4000 * chance) < 5 * (4000 * chance * (1 - chance)) ** 0.5


def test_who_has_no_weight_is_drawn_last_each_as_likely_as_the_others() -> None:
    # Given two of four without weight
    rng = np.random.default_rng(4)
    # When more are drawn than have one, 1000 times
    drawn = [draw(rng, [0.0, 1.0, 0.0, 1e300], 3) for _ in range(1000)]
    # Then those with weight come first, and each of the others in half of the draws: 500, with deviation 16
    assert all(set(indices[:2]) == {1, 3} for indices in drawn)
    assert abs(sum(indices[2] == 0 for indices in drawn) - 500) < 5 * 16
    assert sorted(draw(rng, [1.0, 1.0], 5)) == [0, 1]
    assert draw(rng, [], 5) == []
