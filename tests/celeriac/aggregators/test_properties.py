"""What holds for all aggregators, or for all but some that say so."""

from __future__ import annotations

import re
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.aggregators import TooFewUpdatesError, WeightedUpdate, load_aggregator
from celeriac.aggregators.blocks import BLOCK
from tasks.arrays import Array
from tests.celeriac.aggregators.cohorts import NAMES, ROBUST, aggregate, context_of, random_rows, updates_of

DTYPES = [np.float16, np.float32, np.float64, np.int8, np.int64, np.uint8, np.uint32, np.bool_]
SEEDS = st.integers(0, 2**32)
EACH_AND_BESIDE = {
    "median": (2, 1),
    "trimmed_mean": (2, 1),
    "geometric_median": (2, 1),
    "centered_clipping": (2, 1),
    "krum": (2, 3),
    "multi_krum": (2, 3),
    "bulyan": (4, 3),
}
"""f hostile need each * f + beside updates."""


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
@given(num_updates=st.integers(1, 9), seed=SEEDS)
def test_equal_updates_are_their_own_aggregate(name: str, dtype: Any, num_updates: int, seed: int) -> None:
    # Given any number of clients with the same parameters and different weights, and a model that differs
    update, origin = (values.astype(dtype) for values in 20 * random_rows(2, seed=seed).clip(0))
    updates = updates_of(
        *[update] * num_updates, weights=[1.0, 3.0, 7.0] * 3 if num_updates == 9 else None, dtype=dtype
    )
    # When they are aggregated
    aggregated = aggregate(name, updates, origin={"w": origin})
    # Then nothing changes, but for float64, where sums are rounded
    assert aggregated.dtype == dtype
    rtol = 1e-12 if dtype == np.float64 else 0
    np.testing.assert_allclose(aggregated, update, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data(), num_updates=st.integers(4, 9), seed=SEEDS)
def test_another_order_makes_no_difference_beyond_roundings(
    name: str, data: st.DataObject, num_updates: int, seed: int
) -> None:
    # Given clients no two of which are equally near to the others, in two orders; Bulyan counts one neighbour alone
    # where it stands one or two, and of the nearest pair both have the other
    num_updates += 11 if name == "bulyan" else 0
    updates = updates_of(*random_rows(num_updates, seed=seed), weights=[float(n) for n in range(1, num_updates + 1)])
    shuffled = data.draw(st.permutations(updates))
    # When both are aggregated, then the results are the same
    np.testing.assert_allclose(aggregate(name, updates), aggregate(name, shuffled), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["median", "trimmed_mean"])
@given(data=st.data(), values=st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=9))
def test_what_is_sorted_first_is_the_same_in_any_order_to_the_last_bit(
    name: str, data: st.DataObject, values: list[float]
) -> None:
    # Given any numbers in two orders, when they are aggregated, then the results are equal
    shuffled = data.draw(st.permutations(values))
    one, other = (aggregate(name, updates_of(*([value] for value in each))) for each in (values, shuffled))
    assert one.tolist() == other.tolist()


@pytest.mark.parametrize("name", NAMES)
@given(seed=SEEDS, exponent=st.integers(-30, 30), num_updates=st.integers(1, 9))
def test_updates_times_a_number_have_an_aggregate_times_it(
    name: str, seed: int, exponent: int, num_updates: int
) -> None:
    # Given clients and a model, and all of them times a power of two, which rounds nothing
    rows, origin = random_rows(num_updates, seed=seed), random_rows(1, seed=seed + 1)[0]
    factor = -(2.0**exponent)
    # When both are aggregated, then one is the other times it
    plain = aggregate(name, updates_of(*rows), origin={"w": origin})
    scaled = aggregate(name, updates_of(*rows * factor), origin={"w": origin * factor})
    np.testing.assert_allclose(scaled, plain * factor, rtol=1e-9, atol=abs(factor) * 1e-9)


@pytest.mark.parametrize("name", NAMES)
@given(seed=SEEDS, num_updates=st.integers(1, 9))
def test_updates_that_are_shifted_have_an_aggregate_that_is_shifted(name: str, seed: int, num_updates: int) -> None:
    # Given clients and a model, and all of them moved by the same
    rows, origin = random_rows(num_updates, seed=seed), random_rows(1, seed=seed + 1)[0]
    shift = 10 * random_rows(1, seed=seed + 2)[0]
    # When both are aggregated, then one is the other moved by it
    plain = aggregate(name, updates_of(*rows), origin={"w": origin})
    shifted = aggregate(name, updates_of(*rows + shift), origin={"w": origin + shift})
    np.testing.assert_allclose(shifted, plain + shift, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@given(seed=SEEDS, num_updates=st.integers(1, 9))
def test_an_aggregate_is_within_the_updates_and_the_model(name: str, seed: int, num_updates: int) -> None:
    # Given any clients and a model
    rows, origin = random_rows(num_updates, seed=seed), random_rows(1, seed=seed + 1)[0]
    # When they are aggregated, then no value is beyond all of theirs
    aggregated = aggregate(name, updates_of(*rows), origin={"w": origin})
    everything = np.vstack([rows, origin]) if name == "centered_clipping" else rows
    assert np.all(aggregated >= everything.min(axis=0) - 1e-12)
    assert np.all(aggregated <= everything.max(axis=0) + 1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
def test_several_blocks_are_aggregated_like_one(name: str, dtype: Any) -> None:
    # Given clients with an array of three blocks and a bit, that repeats itself every 1000 elements in one of its rows
    short = (10 * random_rows(7, 1000)).astype(dtype)
    repeats = 3 * BLOCK // 1000 + 2
    long = updates_of(*(np.tile(row, repeats) for row in short), dtype=dtype)
    assert long[0].parameters["w"].size > 3 * BLOCK
    # When it is aggregated, and so are 1000 elements: distances differ by a factor, which is the same for all
    aggregated, expected = aggregate(name, long), aggregate(name, updates_of(*short, dtype=dtype))
    # Then they repeat themselves
    rtol = 1e-6 if name in ("geometric_median", "centered_clipping") and dtype != np.float16 else 0
    rtol = max(rtol, 1e-13 if dtype == np.float64 else 0)
    np.testing.assert_allclose(aggregated.reshape(repeats, 1000), np.tile(expected, (repeats, 1)), rtol=rtol, atol=rtol)


@pytest.mark.parametrize("name", NAMES)
def test_memory_is_that_of_one_model_and_of_blocks(name: str) -> None:
    # Given twelve clients with arrays of 2**20 elements of float32, 4 MiB each
    updates = updates_of(*random_rows(12, 2**20), dtype=np.float32)
    context = context_of(updates)
    # When they are aggregated
    tracemalloc.start()
    load_aggregator(name)(updates, context)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Then no more is taken than the result, and eight blocks of float64 of each update
    assert peak_bytes < 4 * 2**20 + 8 * 8 * BLOCK * len(updates)


@pytest.mark.parametrize("name", NAMES)
def test_arrays_of_all_shapes_are_aggregated_and_left_as_they_were(name: str) -> None:
    # Given clients with arrays of several shapes, one of them empty, that can't be written to
    def parameters(number: int) -> dict[str, Array]:
        made = {
            "number": np.array(float(number)),
            "none": np.zeros((0, 3), np.float32),
            "columns": np.asfortranarray(np.full((2, 3), number, np.float32)),
            "flag": np.array(number > 2),
        }
        for values in made.values():
            values.flags.writeable = False
        return made

    updates = [WeightedUpdate(parameters(number), 1.0) for number in (1, 2, 3, 4, 5, 6, 7)]
    # When they are aggregated
    aggregated = load_aggregator(name)(updates, context_of(updates))
    # Then there are new arrays of the same names, shapes and dtypes
    assert {key: (values.shape, values.dtype) for key, values in aggregated.items()} == {
        key: (values.shape, values.dtype) for key, values in updates[0].parameters.items()
    }
    assert list(aggregated) == ["number", "none", "columns", "flag"]
    assert all(values.flags.writeable for values in aggregated.values())
    assert [update.parameters["number"].item() for update in updates] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("name", NAMES)
def test_arrays_that_the_model_lacks_start_from_zeros(name: str) -> None:
    # Given clients with an array that the model lacks, whose name begins with @
    updates = [WeightedUpdate({"@extra": row[:20].reshape(4, 5), "w": row[20:]}, 1.0) for row in random_rows(7)]
    origin = {"w": random_rows(1, 30, seed=1)[0]}
    # When they are aggregated, then it is as if the model had zeros there
    lacking = load_aggregator(name)(updates, context_of(updates, origin=origin))
    having = load_aggregator(name)(updates, context_of(updates, origin={**origin, "@extra": np.zeros((4, 5))}))
    assert list(lacking) == ["@extra", "w"]
    assert all(np.array_equal(lacking[key], having[key]) for key in lacking)


@pytest.mark.parametrize(
    ("dtype", "extremes"),
    [
        (np.float16, [65504.0, -65504.0]),
        (np.float32, [3e38, -3e38, 1e6]),
        (np.float64, [1.7e308, -1.7e308, 1e119, 1e6]),
        (np.int32, [2**31 - 1, -(2**31)]),
        (np.int64, [2**63 - 1, -(2**63)]),
        (np.uint8, [255, 0]),
    ],
)
@pytest.mark.parametrize("num_updates", [7, 15])
@pytest.mark.parametrize("name", ROBUST)
def test_as_many_hostile_as_it_stands_have_no_way_to_move_it_far(
    name: str, num_updates: int, dtype: Any, extremes: list[float]
) -> None:
    # Given as many hostile clients as an aggregator can stand, with values as extreme as they come, or alternately so
    each, beside = EACH_AND_BESIDE[name]
    num_byzantine = (num_updates - beside) // each
    assert num_byzantine > 0
    honest = (100 + 5 * random_rows(num_updates - num_byzantine)).astype(dtype)
    width = honest.shape[1]
    attacks = [np.full(width, value, dtype) for value in extremes]
    attacks.append(np.where(np.arange(width) % 2 == 0, *(np.array(value, dtype) for value in extremes[:2])))
    for attack in attacks:
        # When these are aggregated with the honest ones
        updates = updates_of(*[attack] * num_byzantine, *honest, dtype=dtype)
        moved = aggregate(name, updates, num_byzantine=num_byzantine, origin={"w": honest[0]}).astype(float)
        # Then the result is as near to the honest as these are to each other, or twice so
        middle = honest.astype(float).mean(axis=0)
        spread = max(float(np.linalg.norm(row - middle)) for row in honest.astype(float))
        assert np.linalg.norm(moved - middle) <= 2 * spread


@pytest.mark.parametrize("num_byzantine", [1, 2, 3, 10])
@pytest.mark.parametrize("name", ROBUST)
def test_with_one_update_too_few_it_says_how_many_are_needed(name: str, num_byzantine: int) -> None:
    # Given as many updates as are needed, and one fewer
    each, beside = EACH_AND_BESIDE[name]
    needed = each * num_byzantine + beside
    rows = random_rows(needed, 4)
    # When they are aggregated, then it works with the one, and with the other one line says what is missing
    aggregate(name, updates_of(*rows), num_byzantine=num_byzantine)
    message = (
        f"{name} has {needed - 1} updates of which {num_byzantine} may be hostile (--num-byzantine): "
        f"at least {needed} are needed"
    )
    with pytest.raises(TooFewUpdatesError, match=f"^{re.escape(message)}$") as raised:
        aggregate(name, updates_of(*rows[1:]), num_byzantine=num_byzantine)
    assert (raised.value.num_updates, raised.value.num_needed) == (needed - 1, needed)


@pytest.mark.parametrize("num_byzantine", [None, 0])
@pytest.mark.parametrize("num_updates", range(1, 12))
@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_updates_will_do_where_nobody_says_how_many_are_hostile(
    name: str, num_updates: int, num_byzantine: int | None
) -> None:
    # Given any number of updates, when they are aggregated, then the result is finite
    aggregated = aggregate(name, updates_of(*random_rows(num_updates)), num_byzantine=num_byzantine)
    assert np.all(np.isfinite(aggregated))


def test_the_mean_isnt_asked_how_many_are_hostile() -> None:
    # Given scorers that want to know, when the mean is taken of what they left, then it doesn't mind
    assert aggregate("mean", updates_of([1.0], [3.0]), num_byzantine=3).tolist() == [2.0]


@pytest.mark.parametrize("name", ["krum", "multi_krum", "bulyan", "geometric_median", "centered_clipping"])
def test_what_isnt_trained_has_no_say_in_who_is_chosen(name: str) -> None:
    # Given seven clients, and one whose weights are far off, with statistics that say the opposite; and a set's, too
    rows = [[0.0, 1.0], [0.1, 1.0], [0.2, 1.0], [0.3, 1.0], [0.4, 1.0], [0.5, 1.0], [90.0, 1.0]]
    statistics = [1e6, -1e6, 2e6, 5.0, -3e6, 4e6, 5.0]
    updates = [
        WeightedUpdate({"@c/mean": np.array([mean]), "mean": np.array([mean]), "w": np.array(row)}, 1.0)
        for row, mean in zip(rows, statistics, strict=True)
    ]
    origin = {"mean": np.zeros(1), "w": np.zeros(2)}
    # When they are aggregated
    context = context_of(updates, origin, num_byzantine=1, buffers=frozenset({"mean"}))
    aggregated = load_aggregator(name)(updates, context)
    # Then the weights are what they are without statistics
    alone = [WeightedUpdate({"w": update.parameters["w"]}, 1.0) for update in updates]
    expected = load_aggregator(name)(alone, context_of(alone, {"w": origin["w"]}, num_byzantine=1))
    assert aggregated["w"].tolist() == expected["w"].tolist()
    assert aggregated["w"][0] < 0.5
    # And the statistics are the median of all
    if name != "bulyan":  # which takes them of the chosen, place by place
        assert aggregated["mean"].tolist() == aggregated["@c/mean"].tolist() == [5.0]
    assert list(aggregated) == ["@c/mean", "mean", "w"]
