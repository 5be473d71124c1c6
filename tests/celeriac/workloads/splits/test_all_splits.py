from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tests.support
from celeriac.workloads.examples import Indices
from celeriac.workloads.splits import Labels, Split, client_split, load_split
from tasks.errors import ConfigurationError, LoadError, UnknownNameError
from tasks.workload import Part

SPECS = [
    "iid", "shards", "shards:1", "dirichlet", "dirichlet:0.001", "dirichlet:0.1", "dirichlet:1000000", "quantity",
    "quantity:0.001", "quantity:5", *(f"niid:{level}" for level in range(6)),
]  # fmt: skip


def balanced(num_examples: int) -> Labels:
    return np.random.default_rng(0).permutation(np.arange(num_examples) % 10)


def skew(split: str, labels: Labels, num_parts: int) -> float:
    """Half the sum of |share of a label in a part - share in all|, a part and a seed on average: 0 is no skew."""
    whole = np.bincount(labels, minlength=10) / len(labels)
    parts = [part for seed in range(5) for part in load_split(split)(labels, num_parts, seed)]
    shares = [np.bincount(labels[part], minlength=10) / len(part) for part in parts]
    return float(np.mean([abs(share - whole).sum() / 2 for share in shares]))


@pytest.mark.parametrize("spec", SPECS)
@given(labels=st.lists(st.integers(-3, 12), min_size=1, max_size=150), data=st.data(), seed=st.integers(0, 2**63 - 1))
def test_every_example_is_in_exactly_one_part_and_no_part_is_empty(
    spec: str, labels: list[int], data: st.DataObject, seed: int
) -> None:
    # Given any labels, and parts that they suffice for: two examples each where a part is made of two shards
    needed = 2 if spec in ("shards", "niid:4") else 1
    num_parts = data.draw(st.integers(1, max(len(labels) // needed, 1)))
    array = np.array(labels * needed, dtype=np.int64)
    # When they are split
    parts = load_split(spec)(array, num_parts, seed)
    # Then nothing is lost or doubled, and everyone has something
    assert len(parts) == num_parts
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(array)))
    assert all(len(part) and part.dtype == np.int64 and (np.diff(part) > 0).all() for part in parts)


@pytest.mark.parametrize("spec", SPECS)
def test_equal_seeds_give_equal_parts_and_others_give_others(spec: str) -> None:
    # Given 400 examples, when they are split twice with one seed and once with another
    once, again, other = (load_split(spec)(balanced(400), 5, seed) for seed in (1, 1, 2))
    # Then the seed decides
    assert [part.tolist() for part in once] == [part.tolist() for part in again]
    assert [part.tolist() for part in once] != [part.tolist() for part in other]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("num_parts", [0, 31])
def test_more_parts_than_examples_or_none_are_refused(spec: str, num_parts: int) -> None:
    # Given 30 examples, when they are to be 31 parts or none, then the message says how many there may be
    with pytest.raises(ConfigurationError, match=f"30 examples can't be split into {num_parts} parts: take 1 to 30"):
        load_split(spec)(balanced(30), num_parts, 1)


@pytest.mark.parametrize("num_parts", [10, 100])
def test_every_level_of_niid_is_more_skewed_than_the_one_before(num_parts: int) -> None:
    # Given 6,000 examples of ten labels
    labels = balanced(6_000)
    # When they are split at each level
    skews = [skew(f"niid:{level}", labels, num_parts) for level in range(6)]
    # Then labels differ more and more between parts
    assert skews == sorted(skews)
    assert len(set(skews)) == 6


@pytest.mark.parametrize(
    ("level", "split"),
    list(enumerate(["iid", "dirichlet:1", "dirichlet:0.5", "dirichlet:0.1", "shards:2", "shards:1"])),
)
def test_a_level_is_the_split_that_the_documentation_says(level: int, split: str) -> None:
    # Given a level and its split, when both are made, then they are one
    labels = balanced(300)
    by_level, by_name = load_split(f"niid:{level}")(labels, 4, 7), load_split(split)(labels, 4, 7)
    assert [part.tolist() for part in by_level] == [part.tolist() for part in by_name]


@pytest.mark.parametrize("name", ["dirichlet", "quantity"])
def test_without_a_parameter_alpha_is_a_half(name: str) -> None:
    # Given no parameter, when it is split, then that is as with 0.5
    default, half = load_split(name)(balanced(300), 4, 7), load_split(f"{name}:0.5")(balanced(300), 4, 7)
    assert [part.tolist() for part in default] == [part.tolist() for part in half]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("iid:2", r"split 'iid:2': iid has no parameter, write split=iid"),
        ("shards:0", r"split 'shards:0': write shards:N with a whole number from 1 to 999999999, like shards:2"),
        ("shards:1.5", r"shards:N with a whole number"),
        ("shards:two", r"shards:N with a whole number"),
        ("dirichlet:0", r"write dirichlet:ALPHA with ALPHA from 0.001 to 1000000, like dirichlet:0.5"),
        ("dirichlet:nan", r"dirichlet:ALPHA"),
        ("dirichlet:inf", r"dirichlet:ALPHA"),
        ("dirichlet:a:b", r"dirichlet:ALPHA"),
        ("quantity:-1", r"quantity:ALPHA"),
        ("niid", r"split 'niid:': write niid:LEVEL with a level of 0, 1, 2, 3, 4, 5$"),
        ("niid:6", r"niid:LEVEL with a level of 0, 1, 2, 3, 4, 5$"),
    ],
)  # fmt: skip
def test_a_parameter_that_is_wrong_is_refused_with_what_is_allowed(spec: str, message: str) -> None:
    # Given a parameter that a split hasn't, when it is loaded, then the message says what to write
    with pytest.raises(ConfigurationError, match=message):
        load_split(spec)


@pytest.mark.parametrize("spec", ["dirichle", "dirichle:0.5", "", ":2", "shard:2"])
def test_an_unknown_split_is_refused_with_those_there_are(spec: str) -> None:
    # Given a slip, when it is loaded, then the known ones are listed
    with pytest.raises(UnknownNameError, match=r"unknown split .*known are dirichlet, iid, niid, quantity, shards"):
        load_split(spec)


def test_clients_share_no_example_not_even_one_for_testing() -> None:
    # Given 103 examples and four clients
    labels = np.arange(103) % 10
    splits = [client_split(labels, Part(index, 4), seed=5) for index in range(4)]
    # When all that they train and test on is put together
    everything = np.concatenate([rows for split in splits for rows in split])
    # Then it is each example once
    assert sorted(everything.tolist()) == list(range(103))
    assert [len(test) for _, test in splits] == [3, 3, 3, 2]


def odd_and_even(parameter: str) -> Split:
    """A split of the user's own: odd examples and even ones, with the parameter ``all`` everything twice."""

    def split(labels: Labels, num_parts: int, seed: int) -> list[Indices]:
        numbers = np.arange(len(labels))
        if parameter == "all":
            return [numbers, numbers]
        return [numbers[1::2], numbers[::2]] if num_parts == 2 else [numbers]

    return split


def test_a_split_of_ones_own_is_taken_with_its_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a function in a module
    monkeypatch.setattr(tests.support, "odd_and_even", odd_and_even, raising=False)
    # When it is named, then clients get its parts
    train, test = client_split(np.zeros(20, np.int64), Part(0, 2), 1, "tests.support:odd_and_even:x")
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(1, 20, 2))


@pytest.mark.parametrize(
    ("spec", "num_parts", "message"),
    [
        ("tests.support:odd_and_even:all", 2, "each of the 20 examples has to be in exactly one part"),
        ("tests.support:odd_and_even", 3, "made 1 parts: 3 are needed, none of them empty"),
    ],
)
def test_a_split_of_ones_own_that_isnt_one_is_refused(
    monkeypatch: pytest.MonkeyPatch, spec: str, num_parts: int, message: str
) -> None:
    # Given a function that gives examples to two clients, or makes too few parts
    monkeypatch.setattr(tests.support, "odd_and_even", odd_and_even, raising=False)
    # When a client asks for its part, then the message says what is wrong
    with pytest.raises(ConfigurationError, match=message):
        client_split(np.zeros(20, np.int64), Part(0, num_parts), 1, spec)


def test_what_is_no_function_is_refused() -> None:
    # Given a text, when it is to be a split, then that is an error
    with pytest.raises(LoadError, match=r"split 'tests.support:PULL' is str, not a function"):
        load_split("tests.support:PULL")


def test_a_function_that_doesnt_say_that_it_returns_a_split_isnt_called(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a function of a text, as there are many in packages that are installed
    called: list[str] = []

    def carry_out(command: str) -> None:
        called.append(command)

    monkeypatch.setattr(tests.support, "carry_out", carry_out, raising=False)
    # When a run's folder names it as a split, then it is refused, and not called
    with pytest.raises(LoadError, match=r"write def carry_out\(…\) -> Split, or a class that is one$"):
        load_split("tests.support:carry_out:rm")
    assert called == []
