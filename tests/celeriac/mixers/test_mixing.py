from __future__ import annotations

import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.aggregators import AggregatorContext, WeightedUpdate
from celeriac.aggregators import mean as mean_module
from celeriac.mixers import Mixer, MixingError, load_mixer, mixing
from celeriac.mixers.bucketing import Bucketing
from celeriac.mixers.mixing import mix
from celeriac.mixers.nnm import mix_nearest
from orchestrator.jobs.scratch import scratch_arrays
from tests.celeriac.aggregators.cohorts import context_of, random_rows, updates_of
from tests.celeriac.mixers.mixes import in_memory, mixed, mixing_by


def test_without_mixers_nothing_is_changed() -> None:
    # Given updates and no mixer, when they are mixed, then they are those
    updates = updates_of([1.0], [3.0])
    context = context_of(updates, num_byzantine=1)
    assert mix(updates, context, [], np.random.default_rng(0), in_memory) == (updates, context)


def test_a_matrix_says_which_means_are_taken() -> None:
    # Given three updates, and a mixer that wants one of them as it is, and a quarter of one with the rest of another
    updates = updates_of([4.0, 0.0], [8.0, 1.0], [0.0, 2.0], weights=[5.0, 6.0, 7.0])
    # When they are mixed
    after = mixed([mixing_by([[0, 1, 0], [0.25, 0, 0.75]])], updates)
    # Then there are two, of weight 1
    assert [update.parameters["w"].tolist() for update in after] == [[8.0, 1.0], [1.0, 1.5]]
    assert [update.weight for update in after] == [1.0, 1.0]


def test_each_mixer_gets_what_the_one_before_has_left() -> None:
    # Given a mixer that takes means of two and one that takes those of what it left
    pairs, both = mixing_by([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]), mixing_by([[0.25, 0.75]])
    # When four updates are mixed by them, then it is a quarter of 3 and three quarters of 7
    after = mixed([pairs, both], updates_of([2.0], [4.0], [6.0], [8.0]))
    assert [update.parameters["w"].item() for update in after] == [6.0]


def test_means_are_rounded_once() -> None:
    # Given three updates in float32 whose sum float32 can't hold: 2**24 + 1 + 1 is 2**24 in it, added one by one
    updates = updates_of([2.0**24], [1.0], [1.0], dtype=np.float32)
    # When all are mixed with all, then each is the float32 that is nearest to (2**24 + 2) / 3 = 5592406
    after = mixed([mix_nearest], updates, num_byzantine=0)
    assert [update.parameters["w"].item() for update in after] == [5_592_406.0] * 3


@given(num_updates=st.integers(1, 9), seed=st.integers(0, 2**32))
def test_equal_updates_stay_what_they_are_to_the_last_bit(num_updates: int, seed: int) -> None:
    # Given clients that sent the same float32, when they are mixed twice, then that is what comes of it
    row = random_rows(1, seed=seed)[0].astype(np.float32)
    for update in mixed([mix_nearest, Bucketing(3)], updates_of(*[row] * num_updates, dtype=np.float32)):
        assert np.array_equal(update.parameters["w"], row)


@pytest.mark.parametrize(
    ("num_byzantine", "size", "left"), [(1, 2, 1), (2, 2, 2), (3, 2, 2), (3, 5, 0), (None, 2, None)]
)
def test_of_buckets_as_many_may_be_hostile_as_of_updates_up_to_a_minority(
    num_byzantine: int | None, size: int, left: int | None
) -> None:
    # Given ten updates, of which some may be hostile
    updates = updates_of(*random_rows(10))
    context = context_of(updates, num_byzantine=num_byzantine)
    # When buckets are made of them, then each may spoil one, and a minority of the buckets is all that can be stood
    _, after = mix(updates, context, [Bucketing(size)], np.random.default_rng(0), in_memory)
    assert after.num_byzantine == left


def test_nearest_neighbours_leave_as_many_hostile_as_there_were() -> None:
    # Given ten updates of which three may be hostile, when they are mixed, then three of the ten may be spoiled
    updates = updates_of(*random_rows(10))
    _, after = mix(updates, context_of(updates, num_byzantine=3), [mix_nearest], np.random.default_rng(0), in_memory)
    assert after.num_byzantine == 3


def test_arrays_that_the_model_lacks_are_mixed_too() -> None:
    # Given clients with a set of arrays beside their parameters, which begins at zeros
    updates = [WeightedUpdate({"@c/w": np.array([x]), "w": np.array([x])}, 1.0) for x in (1.0, 2.0, 6.0)]
    context = AggregatorContext({"w": np.zeros(1)}, 1, 0.2)
    # When they are mixed, each with its nearest, then so are these
    after, _ = mix(updates, context, [mix_nearest], np.random.default_rng(0), in_memory)
    assert [update.parameters["@c/w"].item() for update in after] == [1.5, 1.5, 4.0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("steps", [("nnm",), ("bucketing:3", "nnm")])
def test_neither_parts_nor_the_kernel_nor_files_make_a_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: tuple[str, ...], dtype: Any
) -> None:
    # Given updates with arrays of many parts, one with no elements, a number and a counter
    def parameters(row: Any) -> dict[str, Any]:
        return {"b": row[:1000].reshape(20, 50), "w": row, "none": row[:0], "x": row[1], "steps": np.array(len(row))}

    updates = [WeightedUpdate(parameters(row), 1.0) for row in random_rows(9, 5003).astype(dtype)]
    mixers = [load_mixer(step) for step in steps]

    def result(room: mixing.Room) -> list[Any]:
        after, _ = mix(updates, context_of(updates, num_byzantine=1), mixers, np.random.default_rng(3), room)
        return [{name: values.copy() for name, values in update.parameters.items()} for update in after]

    expected = result(in_memory)
    # When they are mixed by the kernel, in parts of 128 bytes, into a file
    monkeypatch.setattr("celeriac.aggregators.kernel.LARGE_BYTES", 0)
    monkeypatch.setattr("celeriac.aggregators.blocks.PART_BYTES", 128)
    monkeypatch.setattr(mean_module, "BLOCK", 7)
    found = result(lambda spec, number: scratch_arrays(tmp_path, spec, number))
    # Then every bit is the same, and no file is left
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert list(one) == list(other) == ["b", "w", "none", "x", "steps"]
        assert all(np.array_equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("spec", ["nnm", "bucketing:2"])
def test_memory_is_that_of_parts_where_mixed_updates_are_on_disk(tmp_path: Path, spec: str) -> None:
    # Given twelve clients with arrays of 2**20 elements of float32, 4 MiB each
    updates = updates_of(*random_rows(12, 2**20).astype(np.float32), dtype=np.float32)
    context = context_of(updates)
    # When they are mixed into a file
    tracemalloc.start()
    mix(updates, context, [load_mixer(spec)], np.random.default_rng(0), lambda s, n: scratch_arrays(tmp_path, s, n))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Then less is taken than one of them
    assert peak_bytes < 4 * 2**20


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[0.5, 0.5]], "a mixer returned an array of shape (1, 2) for 3 updates: (m, 3) with m from 1 is allowed"),
        ([1, 0, 0], "a mixer returned an array of shape (3,) for 3 updates"),
        (np.zeros((0, 3)), "a mixer returned an array of shape (0, 3) for 3 updates"),
        ([[1, 0, 0], [0.5, 0.5, 0.5]], "a mixer returned a matrix whose row 1 sums to 1.5: it has to be 1"),
        ([[2, -1, 0]], "a mixer returned a matrix with -1 in it: numbers from 0 are allowed"),
        ([[np.nan, 1, 0]], "a mixer returned a matrix with nan in it: numbers from 0 are allowed"),
        ([[np.inf, 1, 0]], "a mixer returned a matrix whose row 0 sums to inf: it has to be 1"),
        (None, "a mixer returned an array of shape () for 3 updates"),
        ("all", "a mixer returned str, not a matrix of numbers: "),
        ([[1, 0], [1]], "a mixer returned list, not a matrix of numbers: "),
    ],
)
def test_what_is_no_mixing_matrix_is_told(matrix: Any, message: str) -> None:
    # Given a mixer of one's own that returns what is none, when it is called, then the message says what is wrong
    mixer: Mixer = mixing_by(matrix)
    with pytest.raises(MixingError, match=f"^{re.escape(message)}"):
        mixed([mixer], updates_of([1.0], [2.0], [3.0]))
