from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from celeriac.aggregators import kernel
from celeriac.aggregators.blocks import Floats, add_block
from celeriac.aggregators.kernel import GROUP, TILE, adder, float32_kernel
from tasks.arrays import Array
from tests.celeriac.aggregators.numbers import any_bits, by_definition, each_dtype, unaligned

WEIGHTS = st.one_of(st.integers(1, 2**29 - 1).map(float), st.floats(-(2.0**30), 2.0**30))


@each_dtype
@given(
    length=st.integers(0, 3 * TILE),
    weights=st.lists(WEIGHTS, max_size=2 * GROUP + 3),
    is_aligned=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@example(length=2 * TILE + 1, weights=[1.0] * (GROUP + 1), is_aligned=True, seed=0)
def test_kernel_and_numpy_add_in_the_order_of_the_updates(
    dtype: np.dtype[np.generic], length: int, weights: list[float], is_aligned: bool, seed: int
) -> None:
    # Given updates and sums of any finite numbers
    updates = [any_bits(dtype, length, seed + k) for k in range(len(weights))]
    placed = updates if is_aligned else [unaligned(values) for values in updates]
    before = any_bits(np.dtype(np.float64), length, seed)
    # When they are added by a kernel and by NumPy, then the bytes are those of adding one after the other
    expected = by_definition(before, updates, weights).tobytes()
    for add in (adder(dtype, kernel.LARGE_BYTES), add_block):
        sums = before.copy()
        with np.errstate(over="ignore", invalid="ignore"):
            add(placed, weights, sums)
        assert sums.tobytes() == expected


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_is_not_finite_is_not_made_finite(dtype: type) -> None:
    # Given infinities and NaNs in updates and in sums, also where opposites meet and where a sum overflows
    updates: list[Array] = [np.array([np.inf, -np.inf, np.nan, 1.0, 1.0, 1.0] * TILE, dtype)]
    sums = np.array([-np.inf, -np.inf, 1.0, np.nan, np.inf, np.finfo(np.float64).max] * TILE)
    # When they are added, then the sums are those of adding one after the other
    expected = by_definition(sums, updates, [1e308])
    with np.errstate(over="ignore", invalid="ignore"):
        adder(np.dtype(dtype), kernel.LARGE_BYTES)(updates, [1e308], sums)
    np.testing.assert_array_equal(sums, expected)
    np.testing.assert_array_equal(expected[:6], [np.nan, -np.inf, np.nan, np.nan, np.inf, np.inf])


@pytest.mark.parametrize(
    ("updates", "weights", "sums"),
    [
        ([np.ones(TILE)], [1.0], np.ones(TILE)),
        ([np.ones(TILE, np.float32), np.ones(TILE)], [1.0, 1.0], np.ones(TILE)),
        ([np.ones(2 * TILE, np.float32)], [1.0], np.ones(TILE)),
        ([np.ones((2, TILE // 2), np.float32)], [1.0], np.ones(TILE)),
        ([np.ones(2 * TILE, np.float32)[::2]], [1.0], np.ones(TILE)),
        ([np.ones(TILE, np.float32)], [1.0], np.ones(TILE, np.float32)),
        ([np.ones(TILE, np.float32)], [1.0], np.ones(2 * TILE)[::2]),
        ([np.ones(TILE, np.float32)], [], np.ones(TILE)),
    ],
)
def test_arrays_that_it_would_read_or_write_beyond_are_refused(
    updates: list[Array], weights: list[float], sums: Floats
) -> None:
    # Given an array of another dtype, size or layout, or a weight too few
    found = float32_kernel()
    assert found is not None
    # When the kernel is called with it, then it refuses
    with pytest.raises(ValueError, match=r"^needed are contiguous float32 and float64 sums of one shape"):
        found(updates, weights, sums)


@pytest.mark.parametrize("dtype", [">f4", "f2", "f8", "i4", "g", "F", "U3", "?"])
def test_numpy_adds_other_dtypes(dtype: npt.DTypeLike) -> None:
    # Given large updates of anything but float32 in the usual order of bytes, then NumPy adds them
    assert adder(np.dtype(dtype), kernel.LARGE_BYTES) is add_block


@pytest.fixture
def _forgotten() -> Iterator[None]:
    float32_kernel.cache_clear()
    yield
    float32_kernel.cache_clear()


@pytest.mark.usefixtures("_forgotten")
def test_without_llvm_numpy_adds_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a machine without llvmlite
    monkeypatch.setitem(sys.modules, "llvmlite.binding", None)
    # When it is asked, twice, what adds large updates, then NumPy does, and it is told once
    with caplog.at_level(logging.WARNING):
        assert [adder(np.dtype(np.float32), kernel.LARGE_BYTES) for _ in range(2)] == [add_block] * 2
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "NumPy averages, which takes several times as long as machine code"
    ]


def test_llvm_is_loaded_for_large_updates_alone() -> None:
    # Given a fresh process in which LARGE_BYTES is small
    program = """
import sys, numpy
from celeriac.aggregators import WeightedUpdate, kernel, mean
kernel.LARGE_BYTES = 800
for size in (99, 100):
    mean.weighted_mean([WeightedUpdate({"w": numpy.ones(size, numpy.float32)}, 1.0)] * 2)
    print("llvmlite" in sys.modules)
"""
    # When updates of 792 bytes and of 800 are averaged
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    # Then LLVM is loaded for the second
    assert done.stdout.split() == ["False", "True"]


WITHOUT_EXECUTABLE_MEMORY = """
import ctypes, errno, sys
import numpy as np
from celeriac.aggregators.blocks import add_block
from celeriac.aggregators.kernel import LARGE_BYTES, adder

PR_SET_MDWE, REFUSE_EXEC_GAIN = 65, 1
c = ctypes.CDLL(None, use_errno=True)
if c.prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0):
    assert ctypes.get_errno() == errno.EINVAL  # Linux before 6.3 has no such refusal
    print("memory can't be made inexecutable here", file=sys.stderr)
    sys.exit()
add = adder(np.dtype(np.float32), LARGE_BYTES)
sums = np.zeros(64)
add([np.full(64, 0.1, np.float32)], [3.0], sums)
assert add is add_block and sums[0] == np.float64(np.float32(0.1)) * 3.0
"""


def test_where_memory_may_not_be_made_executable_numpy_adds() -> None:
    # Given a process that is refused executable memory, as by systemd's MemoryDenyWriteExecute
    # When it adds large updates, then NumPy does it, and a line says why
    command = [sys.executable, "-c", WITHOUT_EXECUTABLE_MEMORY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "memory can't be made" in done.stderr
