from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.geometry import (
    BLOCK,
    cosines,
    cosines_with_others,
    delta_blocks,
    dot_products,
    lengths,
    medians_of_others,
    squared_distances,
    sums_of_nearest,
)
from tasks.arrays import Array, Arrays, map_file, write_file
from tasks.broker.url import URL_VARIABLE

ORIGIN = {"w": np.array([1.0, 1.0])}


def at(*point: float) -> dict[str, Array]:
    """Parameters whose delta from ORIGIN is ``point``."""
    return {"w": np.array(point) + 1}


def test_lengths_distances_and_cosines_of_a_right_triangle() -> None:
    # Given deltas (3, 4), (3, 0) and (0, 4)
    updates = [at(3, 4), at(3, 0), at(0, 4)]
    # Then the lengths are 5, 3 and 4, and the squared distances 16, 9 and 25
    assert lengths(updates, ORIGIN).tolist() == [5.0, 3.0, 4.0]
    assert squared_distances(updates, ORIGIN).tolist() == [[0, 16, 9], [16, 0, 25], [9, 25, 0]]
    # And the cosines with (6, 0) are 3/5, 1 and 0
    assert cosines(updates, at(6, 0), ORIGIN).tolist() == pytest.approx([0.6, 1.0, 0.0])


def test_dot_products_and_sums_of_the_nearest_of_a_right_triangle() -> None:
    # Given the same deltas
    updates = [at(3, 4), at(3, 0), at(0, 4)]
    # Then (3, 4)·(3, 0) is 9, (3, 4)·(0, 4) is 16, and the other two are at a right angle
    assert dot_products(updates, ORIGIN).tolist() == [[25, 9, 16], [9, 9, 0], [16, 0, 16]]
    # And the nearest are at 9, 16 and 9, the nearest two at 16 + 9, 16 + 25 and 9 + 25; there are no three
    distances = squared_distances(updates, ORIGIN)
    assert sums_of_nearest(distances, 0).tolist() == [0.0, 0.0, 0.0]
    assert sums_of_nearest(distances, 1).tolist() == [9.0, 16.0, 9.0]
    assert sums_of_nearest(distances, 2).tolist() == [25.0, 41.0, 34.0]
    assert sums_of_nearest(distances, 3).tolist() == [np.inf] * 3
    assert np.diag(distances).tolist() == [0.0, 0.0, 0.0]


def test_what_has_no_direction_has_the_cosine_0() -> None:
    # Given a delta that is zero, as update and as reference
    assert cosines([at(0, 0), at(-1, 0)], at(2, 0), ORIGIN).tolist() == [0.0, -1.0]
    assert cosines([at(1, 2)], at(0, 0), ORIGIN).tolist() == [0.0]


def test_counters_and_booleans_are_left_out() -> None:
    # Given updates that differ in a counter and a flag by far more than in their floats
    origin = {"count": np.array(0), "flag": np.array([False]), "w": np.array([0.0], np.float16)}
    update = {"count": np.array(10**9), "flag": np.array([True]), "w": np.array([2.0], np.float16)}
    # When they are measured, then only the floats count
    assert lengths([update, origin], origin).tolist() == [2.0, 0.0]
    assert squared_distances([update, origin], origin).tolist() == [[0, 4], [4, 0]]


def test_a_model_without_floats_has_no_lengths() -> None:
    # Given a model of one counter and an empty array
    origin = {"count": np.array(0), "none": np.zeros((0, 3))}
    # When it is measured, then all is 0
    assert lengths([origin, origin], origin).tolist() == [0.0, 0.0]
    assert cosines_with_others([origin, origin], origin).tolist() == [0.0, 0.0]
    assert squared_distances([origin, origin], origin).tolist() == [[0, 0], [0, 0]]


def test_arrays_are_laid_end_to_end_in_the_order_of_their_names_and_cut_into_blocks() -> None:
    # Given an array of two blocks and three elements more, and one without dimensions, in another order
    long = np.arange(2 * BLOCK + 3, dtype=np.float32).reshape(-1, 1)
    update, origin = {"z": np.array(5.0), "a": long}, {"a": 0 * long, "z": np.array(1.0)}
    # When the deltas are taken, then the blocks are these and no element is lost
    blocks = [block.copy() for block in delta_blocks([update], origin)]
    assert [block.shape for block in blocks] == [(1, BLOCK), (1, BLOCK), (1, 3), (1, 1)]
    assert np.concatenate(blocks, axis=1)[0].tolist() == [*range(2 * BLOCK + 3), 4.0]


@pytest.mark.parametrize("size", [BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 7])
def test_blocks_make_no_difference(size: int) -> None:
    # Given five updates whose arrays end around a block's end
    rng = np.random.default_rng(size)
    flat = rng.standard_normal((5, size))
    updates: list[Arrays] = [{"w": row} for row in flat]
    origin = {"w": np.zeros(size)}
    # When they are measured, then it is as if taken in one piece
    assert lengths(updates, origin) == pytest.approx(np.linalg.norm(flat, axis=1), rel=1e-12)
    direct = ((flat[:, None] - flat) ** 2).sum(axis=2)
    assert squared_distances(updates, origin) == pytest.approx(direct, rel=1e-12)
    unit = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    assert cosines(updates, updates[2], origin) == pytest.approx(unit @ unit[2], rel=1e-11)
    centres = [np.median(np.delete(unit, k, axis=0), axis=0) for k in range(5)]
    expected = [row @ centre / np.linalg.norm(centre) for row, centre in zip(unit, centres, strict=True)]
    assert cosines_with_others(updates, origin) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_differences_are_taken_in_float64(dtype: type) -> None:
    # Given parameters that float16 holds, whose difference 2048 + 1 it doesn't
    origin: Arrays = {"w": np.array([-2048.0], dtype)}
    # When the delta is taken, then no digit is lost
    assert lengths([{"w": np.array([1.0], dtype)}], origin).tolist() == [2049.0]


def test_the_same_update_is_at_distance_0_however_long() -> None:
    # Given an update twice, among others, far from the origin
    rng = np.random.default_rng(3)
    twice = {"w": 1e6 * rng.standard_normal(50_001)}
    updates = [twice, {"w": rng.standard_normal(50_001)}, twice]
    # When distances are taken, then the two are at 0, to which rounding made no difference
    distances = squared_distances(updates, {"w": np.zeros(50_001)})
    assert distances[0, 2] == distances[2, 0] == 0.0
    assert distances[0, 1] == distances[1, 0] > 1e16


def test_the_largest_numbers_give_finite_results_and_leave_the_others_alone() -> None:
    # Given an update with the largest float64, its opposite as origin at one place, and two plain ones
    largest = np.finfo(np.float64).max
    origin = {"w": np.array([0.0, -largest])}
    updates = [{"w": np.array([largest, largest])}, {"w": np.array([3.0, -largest])}, {"w": np.array([6.0, -largest])}]
    # When they are measured, then all is finite, and what concerns the two is as it would be without the first
    assert np.isfinite(lengths(updates, origin)).all()
    assert lengths(updates, origin)[1:].tolist() == [3.0, 6.0]
    distances = squared_distances(updates, origin)
    assert np.isfinite(distances).all()
    assert distances[1, 2] == 9.0
    assert np.isfinite(cosines(updates, updates[1], origin)).all()
    assert np.isfinite(cosines_with_others(updates, origin)).all()


@given(
    rows=st.integers(2, 9).flatmap(
        lambda num: st.lists(st.lists(st.integers(-3, 3), min_size=num, max_size=num), min_size=1, max_size=5)
    )
)
def test_medians_of_others_are_those_without_the_row(rows: list[list[int]]) -> None:
    # Given a few rows with many ties
    table = np.array(rows, np.float64).T
    # When the medians of the others are taken at once
    medians = medians_of_others(table)
    # Then they are those that NumPy finds without each row in turn
    expected = [np.median(np.delete(table, row, axis=0), axis=0).tolist() for row in range(len(table))]
    assert medians.tolist() == expected


@given(data=st.data(), num=st.integers(1, 7))
def test_the_order_of_updates_is_the_order_of_results(data: st.DataObject, num: int) -> None:
    # Given updates of whole numbers, with which no sum is rounded, and a permutation
    number = st.integers(-5, 5).map(float)
    updates = [{"w": np.array(data.draw(st.lists(number, min_size=3, max_size=3)))} for _ in range(num)]
    order = data.draw(st.permutations(range(num)))
    origin = {"w": np.zeros(3)}
    shuffled = [updates[index] for index in order]
    # When both are measured, then the results are permuted, and nothing else
    assert lengths(shuffled, origin).tolist() == lengths(updates, origin)[order].tolist()
    expected = squared_distances(updates, origin)[np.ix_(order, order)]
    assert squared_distances(shuffled, origin).tolist() == expected.tolist()
    assert cosines_with_others(shuffled, origin).tolist() == cosines_with_others(updates, origin)[order].tolist()


def test_read_only_memory_maps_are_read_and_not_changed(tmp_path: Path) -> None:
    # Given updates in files, mapped read-only
    rng = np.random.default_rng(5)
    originals = [{"a": rng.standard_normal((3, 7)).astype(np.float32), "n": np.array(index)} for index in range(4)]
    digests = [write_file(tmp_path / str(index), arrays) for index, arrays in enumerate(originals)]
    mapped = [map_file(tmp_path / str(index)) for index in range(4)]
    assert not mapped[0]["a"].flags.writeable
    origin = mapped[3]
    # When they are measured, then it is as with arrays in memory
    assert lengths(mapped, origin).tolist() == lengths(originals, originals[3]).tolist()
    assert cosines_with_others(mapped, origin).tolist() == cosines_with_others(originals, originals[3]).tolist()
    # And the files are as they were
    assert [write_file(tmp_path / "again", each) for each in mapped] == digests


def test_memory_is_that_of_a_block_each_and_not_of_the_model() -> None:
    # Given ten updates of 40 blocks in float32: 26 MB, and 52 MB in float64
    size = 40 * BLOCK
    updates = [{"w": np.full(size, index, np.float32)} for index in range(1, 11)]
    origin = {"w": np.zeros(size, np.float32)}
    peaks = []
    for measure in (lengths, squared_distances, cosines_with_others):
        # When each is measured
        tracemalloc.start()
        measure(updates, origin)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Then at most six blocks of float64 of each are there at a time: 6 * 10 * 8192 * 8 bytes are 3.9 MB
    assert max(peaks) < 6 * 10 * BLOCK * 8


MEASURES = """
import numpy as np
from celeriac.geometry import cosines_with_others, compared, lengths, squared_distances
updates = [{"w": np.random.default_rng(seed).standard_normal(50_000)} for seed in range(100)]
origin = {"w": np.zeros(50_000)}
found = [lengths(updates, origin), compared(updates, updates[0], origin).cosines, cosines_with_others(updates, origin)]
"""


def measured(program: str, **environment: str) -> bytes:
    """Return what a process prints, whose environment says nothing of BLAS, or of a broker, but what is given."""
    said = os.environ.items()
    clean = {name: value for name, value in said if not name.endswith("_NUM_THREADS") and name != URL_VARIABLE}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env={**clean, **environment}, check=True, capture_output=True).stdout


def test_lengths_and_angles_are_the_same_to_the_last_bit_however_many_threads_there_are() -> None:
    # Given a hundred updates, when they are measured with one thread of BLAS and with two, then they are the same
    program = f"{MEASURES}\nprint(*[each.tobytes().hex() for each in found])"
    assert measured(program, OPENBLAS_NUM_THREADS="1") == measured(program, OPENBLAS_NUM_THREADS="2") != b""


def test_own_workers_find_the_distances_that_a_machine_of_one_core_finds() -> None:
    # Given a hundred updates, when a process of an own worker compares them, then with one thread, whatever the cores
    program = f"import orchestrator.celery\n{MEASURES}\nprint(squared_distances(updates, origin).tobytes().hex())"
    assert measured(program) == measured(program, OPENBLAS_NUM_THREADS="1") != b""
