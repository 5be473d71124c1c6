from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.aggregators import AggregationError, WeightedUpdate, asks_for_root, load_aggregator
from celeriac.aggregators.blocks import BLOCK
from celeriac.aggregators.fltrust import aggregate_fltrust
from tasks.arrays import Array
from tests.celeriac.aggregators.cohorts import context_of, random_rows, updates_of


def moved(*deltas: Any, root: Any, start: Any = (1.0, 1.0), dtype: Any = np.float64) -> Array:
    """Where clients with these changes, and the root's, take a model of one array from ``start``."""
    model = np.array(start, dtype)
    updates = updates_of(*[model + np.array(delta) for delta in deltas], dtype=dtype)
    trained = {"w": (model + np.array(root)).astype(dtype)}
    return aggregate_fltrust(updates, context_of(updates, {"w": model}, train_root=lambda: trained))["w"]


def test_updates_are_made_as_long_as_the_roots_and_weighed_by_their_cosine() -> None:
    # Given the root's change (2, 0), and clients' (3, 4), (4, 0) and (-5, 0)
    found = moved([3, 4], [4, 0], [-5, 0], root=[2, 0])
    # When they are aggregated, then trust is 3/5, 1 and 0, and the changes are (1.2, 1.6) and (2, 0) at length 2:
    # (0.6 * (1.2, 1.6) + (2, 0)) / 1.6 = (1.7, 0.6) from (1, 1)
    assert found.tolist() == pytest.approx([2.7, 1.6])


def test_what_is_shorter_than_the_roots_is_stretched() -> None:
    # Given a client that made a hundredth of the root's way, when it is aggregated, then it counts as one of all of it
    assert moved([0.0, 0.03], root=[0.0, 3.0]).tolist() == pytest.approx([1.0, 4.0])


def test_a_single_client_is_moved_along_by_the_roots_length() -> None:
    assert moved([30, 40], root=[5, 0]).tolist() == pytest.approx([4.0, 5.0])


def test_a_hostile_majority_that_turns_signs_changes_nothing() -> None:
    # Given two honest clients, and the same with five that go backwards, one of them by the largest numbers
    backwards = [[-3, -4], [-1, 0], [0, -9], [-1e30, -1e30], [-2, -2]]
    alone, together = moved([3, 4], [4, 3], root=[1, 1]), moved(*backwards, [3, 4], [4, 3], root=[1, 1])
    # Then they have no trust, and the result is the same to the last bit
    assert together.tolist() == alone.tolist()


@pytest.mark.parametrize(("dtype", "huge"), [(np.float32, 3.4e38), (np.float64, 1e300)])
def test_the_largest_numbers_in_the_roots_direction_move_no_farther_than_the_root(dtype: Any, huge: float) -> None:
    # Given a client that goes as far as numbers go, and one that is honest
    found = moved([huge, huge], [1, 1], root=[3, 4], dtype=dtype)
    # Then both have the length 5 in the direction (1, 1): 5 / √2 each
    assert found.tolist() == pytest.approx([1 + 5 / 2**0.5] * 2, rel=1e-6)


@given(rows=st.integers(1, 9), seed=st.integers(0, 2**32))
def test_nobody_takes_the_model_farther_than_the_root_goes(rows: int, seed: int) -> None:
    # Given any clients whose numbers differ by many powers of ten
    rng = np.random.default_rng(seed)
    deltas = random_rows(rows, 20, seed) * 10.0 ** rng.integers(-9, 9, (rows, 1))
    root = deltas[0] + 0.1 * np.linalg.norm(deltas[0]) * rng.standard_normal(20) / 20**0.5
    # When they are aggregated with a root that the first is like, then the model moves by its length at the most
    found = moved(*deltas, root=root, start=np.zeros(20))
    assert np.linalg.norm(found) <= np.linalg.norm(root) * (1 + 1e-9)
    assert found @ root > 0


def test_weights_and_numbers_of_hostile_make_no_difference() -> None:
    # Given the clients of the first test with weights of their own claim, in another order
    rows = np.array([[-4.0, 1.0], [4.0, 5.0], [5.0, 1.0]])
    updates = updates_of(*rows, weights=[1e6, 1.0, 0.0])
    context = context_of(updates, {"w": np.ones(2)}, num_byzantine=2, train_root=lambda: {"w": np.array([3.0, 1.0])})
    # When they are aggregated, then the result is that of the paper, which knows no weights
    assert aggregate_fltrust(updates, context)["w"].tolist() == pytest.approx([2.7, 1.6])


def test_statistics_and_counters_are_the_median_and_sets_the_mean_by_trust() -> None:
    # Given clients of trust 1, 3/5 and 0 with a counter, a mean, and a set
    def update(point: list[float], count: int, mean: float, c: list[float]) -> WeightedUpdate:
        arrays = {
            "@c/mean": np.array([mean]),
            "@c/w": np.array(c, np.float64),
            "count": np.array(count),
            "mean": np.array([mean], np.float32),
            "w": np.array(point, np.float64),
        }
        return WeightedUpdate(arrays, 1.0)

    updates = [
        update([2, 0], 4, 5.0, [10, 0]),
        update([3, 4], 7, 6.0, [0, 20]),
        update([-9, 0], 10**9, 1e9, [1e30, 1e30]),
    ]
    model = {"count": np.array(0), "mean": np.zeros(1, np.float32), "w": np.zeros(2)}
    root = {"count": np.array(9), "mean": np.full(1, -1e9, np.float32), "w": np.array([1.0, 0.0])}
    # When they are aggregated
    context = context_of(updates, model, buffers=frozenset({"mean"}), train_root=lambda: root)
    found = aggregate_fltrust(updates, context)
    # Then what isn't trained has no say in trust, and is the middle one
    assert (found["count"].item(), found["mean"].tolist(), found["@c/mean"].tolist()) == (7, [6.0], [6.0])
    # And the set is (1 * (10, 0) + 0.6 * (0, 20)) / 1.6, of its own length
    assert found["@c/w"].tolist() == pytest.approx([6.25, 7.5])
    # And the rest is as ever: ((1, 0) + 0.6 * (0.6, 0.8)) / 1.6
    assert found["w"].tolist() == pytest.approx([0.85, 0.3])
    assert {name: values.dtype for name, values in found.items()} == {
        name: values.dtype for name, values in updates[0].parameters.items()
    }


def test_where_nobody_is_trusted_the_round_fails() -> None:
    # Given two clients that go backwards, or nowhere: equation 4 would divide by nothing
    with pytest.raises(AggregationError, match="fltrust trusts none of 2 updates: all point away from the root data's"):
        moved([-1, 0], [0, 0], root=[1, 0])


def test_training_on_root_data_that_changes_nothing_fails_the_round() -> None:
    with pytest.raises(AggregationError, match="training on the root data changed nothing"):
        moved([1, 0], root=[0, 0])


def test_without_root_data_there_is_nothing_to_trust_by() -> None:
    updates = updates_of([1.0])
    with pytest.raises(AggregationError, match="fltrust needs root data of the orchestrator: the workload has none"):
        aggregate_fltrust(updates, context_of(updates))
    # And of all aggregators it alone says beforehand that it asks for it
    assert asks_for_root(load_aggregator("fltrust"))
    assert not asks_for_root(load_aggregator("krum"))


def test_memory_is_that_of_one_model_and_of_blocks() -> None:
    # Given twelve clients with arrays of 2**20 elements of float32, 4 MiB each, and a root that is there
    updates = updates_of(*random_rows(12, 2**20), dtype=np.float32)
    root = dict(updates[0].parameters)
    context = context_of(updates, train_root=lambda: root)
    # When they are aggregated
    tracemalloc.start()
    aggregate_fltrust(updates, context)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Then no more is taken than the result, and eight blocks of float64 of each update
    assert peak_bytes < 4 * 2**20 + 8 * 8 * BLOCK * len(updates)


def test_several_arrays_and_blocks_are_one_delta() -> None:
    # Given clients with two arrays, the longer of three blocks, and the same in a single one
    rows, root = random_rows(4, 3 * BLOCK, seed=1), random_rows(1, 3 * BLOCK, seed=1)[0]
    whole = updates_of(*rows)
    cut = [WeightedUpdate({"a": row[:7].reshape(7, 1), "b": row[7:]}, 1.0) for row in rows]
    one = aggregate_fltrust(whole, context_of(whole, train_root=lambda: {"w": root}))
    parts = {"a": root[:7].reshape(7, 1), "b": root[7:]}
    # When both are aggregated, then the results are the same
    two = aggregate_fltrust(cut, context_of(cut, train_root=lambda: parts))
    found = np.concatenate([two["a"].reshape(-1), two["b"]])
    np.testing.assert_allclose(found, one["w"], rtol=1e-12)
