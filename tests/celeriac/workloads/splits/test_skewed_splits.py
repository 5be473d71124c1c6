from __future__ import annotations

import numpy as np
import pytest

from celeriac.workloads.splits import top_up
from celeriac.workloads.splits.dirichlet import dirichlet_parts
from celeriac.workloads.splits.quantity import quantity_parts
from celeriac.workloads.splits.shards import shard_parts
from tasks.errors import ConfigurationError
from tasks.seeds import generator


def test_shards_are_runs_of_the_examples_sorted_by_label() -> None:
    # Given twelve examples of three labels, sorted by hand: 1 4 7 10 of label 0, 0 3 6 9 of 1, 2 5 8 11 of 2
    labels = np.array([1, 0, 2] * 4)
    # When they are cut into two times three shards of two
    parts = shard_parts(labels, 2, seed=3, per_part=3)
    # Then each part is three of these, and all are dealt
    shards = [[1, 4], [7, 10], [0, 3], [6, 9], [2, 5], [8, 11]]
    held = [[shard for shard in shards if set(shard) <= set(part.tolist())] for part in parts]
    assert [len(hand) for hand in held] == [3, 3]
    assert sorted(shard for hand in held for shard in hand) == sorted(shards)


def test_the_deal_of_shards_is_the_permutation_that_the_seed_gives() -> None:
    # Given ten labels with two examples each, so that with ten parts a shard is one example
    labels = np.repeat(np.arange(10), 2)
    # When they are split
    parts = shard_parts(labels, 10, seed=8)
    # Then a part has the examples at two places of the permutation
    deal = generator(8, "shards").permutation(20)
    assert [part.tolist() for part in parts] == [sorted(deal[2 * i : 2 * i + 2].tolist()) for i in range(10)]


def test_a_hundred_clients_with_two_shards_have_few_labels_and_600_examples_each() -> None:
    # Given as many examples as MNIST has, 6,000 of each label: 200 shards of 300, each of one label
    labels = generator(1).permutation(np.repeat(np.arange(10), 6_000))
    # When they are split as in the paper
    parts = shard_parts(labels, 100, seed=1)
    # Then everyone has 600 examples of one or two labels
    assert {len(part) for part in parts} == {600}
    assert {len(np.unique(labels[part])) for part in parts} == {1, 2}


def test_too_many_shards_are_refused_with_how_many_there_may_be() -> None:
    # Given 30 examples, when ten parts are to have four shards each, then the message says that three are possible
    with pytest.raises(ConfigurationError, match=r"into 40 shards, 4 for each of 10 parts: take shards:1 to shards:3"):
        shard_parts(np.zeros(30, np.int64), 10, seed=1, per_part=4)


def test_dirichlet_shares_each_class_out_in_proportions_of_its_own() -> None:
    # Given 3,000 examples of three labels, in a mild split, of which no part is topped up
    labels = np.repeat(np.arange(3), 1_000)
    counts = [np.bincount(labels[part], minlength=3) for part in dirichlet_parts(labels, 4, seed=2, alpha=5.0)]
    # When shares are drawn as in the paper, class by class, and the examples of each cut at their rounded sums
    rng = generator(2, "dirichlet")
    expected = np.zeros((4, 3), dtype=int)
    for label in range(3):
        rng.permutation(1_000)
        edges = [0, *(round(1_000 * share) for share in np.cumsum(rng.dirichlet([5.0] * 4))[:3]), 1_000]
        expected[:, label] = np.diff(edges)
    # Then the parts are these
    assert np.array_equal(counts, expected)


def test_quantity_skew_cuts_a_shuffled_data_set_in_the_drawn_proportions() -> None:
    # Given 1,000 examples, of which no part is topped up
    parts = quantity_parts(np.zeros(1_000, np.int64), 4, seed=2, alpha=5.0)
    # When shares are drawn after the shuffle
    rng = generator(2, "quantity")
    order = rng.permutation(1_000)
    edges = [round(1_000 * share) for share in np.cumsum(rng.dirichlet([5.0] * 4))[:3]]
    # Then the parts are these
    assert [part.tolist() for part in parts] == [sorted(piece) for piece in np.split(order, edges)]


def test_quantity_skew_leaves_labels_alike() -> None:
    # Given 20,000 examples of ten labels
    labels = np.arange(20_000) % 10
    # When sizes are skewed
    parts = [part for part in quantity_parts(labels, 5, seed=1, alpha=0.5) if len(part) >= 1_000]
    # Then each label is about a tenth of every large part: five standard deviations of 1,000 draws are 0.05
    shares = [np.bincount(labels[part], minlength=10) / len(part) for part in parts]
    assert np.abs(np.array(shares) - 0.1).max() < 0.05
    assert len({len(part) for part in parts}) > 1


@pytest.mark.parametrize(
    ("sizes", "topped_up"),
    [
        ([1_000, 0, 3, 500], [983, 10, 10, 500]),  # ten, as a quarter of 375 is more
        ([100, 0, 2, 18], [88, 7, 7, 18]),  # a quarter of 30, rounded down
        ([5, 0, 0], [3, 1, 1]),  # one, as a quarter of 1 is less
        ([12, 12, 0], [11, 11, 2]),  # in turn from the largest, the first of equals
    ],
)
def test_parts_that_have_too_few_take_from_the_largest(sizes: list[int], topped_up: list[int]) -> None:
    # Given parts of these sizes
    parts = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    # When they are topped up
    after = top_up(parts, generator(1))
    # Then each has the minimum, what it had before is still there, and nothing is lost
    assert [len(part) for part in after] == topped_up
    assert all(set(new) >= set(old) for old, new in zip(parts, after, strict=True) if len(new) > len(old))
    assert sorted(np.concatenate(after).tolist()) == list(range(sum(sizes)))


@pytest.mark.parametrize("alpha", [0.001, 0.1])
def test_even_the_most_skewed_split_leaves_everyone_ten_examples(alpha: float) -> None:
    # Given 60,000 examples and a hundred clients
    labels = np.arange(60_000) % 10
    # When they are split by labels and by sizes
    by_label, by_size = dirichlet_parts(labels, 100, 1, alpha), quantity_parts(labels, 100, 1, alpha)
    # Then the smallest part has ten
    assert min(map(len, by_label)) >= 10
    assert min(map(len, by_size)) >= 10
