"""Weighted mean and sum in machine code that LLVM makes for this processor: one pass over updates, sums in registers.

NumPy goes over a block several times for each update: it converts, multiplies and adds. Here memory is what limits. The
operations are those of NumPy in the same order, so the results are the same to the last bit.

llvmlite compiles what a dtype needs within some milliseconds; nothing is kept on disk. Where it can't, there is no
kernel, and NumPy does all the work.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import math
import platform
from collections.abc import Sequence
from typing import Any

import numpy as np

from orchestrator.aggregators.blocks import Floats
from orchestrator.aggregators.kernel_ir import CHUNK, TILE, WHOLE_TILE, has_whole, module_ir
from tasks.arrays import Array

logger = logging.getLogger(__name__)

_ADDRESS, _COUNT = ctypes.c_void_p, ctypes.c_int64
_MEAN = ctypes.CFUNCTYPE(None, _ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS, _COUNT, ctypes.c_double, _COUNT)
_ADD = ctypes.CFUNCTYPE(None, _ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS, _COUNT, _COUNT)
_LARGEST_BYTES = 8
_ARM = ("aarch64", "arm64")


class MeanKernel:
    """The kernel for one dtype. Any number of threads may call it at a time; others run meanwhile.

    Args:
        dtype: Of floats, integers or booleans.
        llvm: The module ``llvmlite.binding``.
    """

    def __init__(self, dtype: np.dtype[Any], llvm: Any) -> None:
        self._dtype = dtype
        target = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
        )
        # The engine owns the target and holds the code: it has to live as long as that may be called.
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(module_ir(dtype)), target)
        self._engine.finalize_object()
        self._mean = _MEAN(self._engine.get_function_address("mean"))
        is_fast = has_whole(dtype) and _has_fused(llvm)
        self._mean_whole = _MEAN(self._engine.get_function_address("mean_whole")) if is_fast else None
        self._add = _ADD(self._engine.get_function_address("add"))

    def __call__(self, updates: Sequence[Array], weights: Sequence[float], total: float, result: Array) -> int:
        """Put sum_k(w_k x_k) / total, rounded, into the first elements of ``result``, and return how many those are.

        They are all but the last few, less than ``WHOLE_TILE``. Sums and rounding are those of
        :func:`orchestrator.aggregators.mean.weighted_mean`.

        Args:
            updates: At least one, of shape (n,) and the kernel's dtype, contiguous. They may be read-only, and
                at addresses that are not aligned.
            weights: One for each update.
            total: What the sums are divided by.
            result: Shape (n,), of the kernel's dtype, contiguous.

        Raises:
            ValueError: If anything is otherwise: memory beyond an array would be read, or written to.
        """
        self._check(updates, weights, result, self._dtype)
        mean, tile, factors = self._mean, TILE, np.array(weights, np.float64)
        if self._mean_whole and (whole := _whole(weights, total, self._dtype)) is not None:
            mean, tile, factors, total = self._mean_whole, WHOLE_TILE, whole, float(whole.sum())
        size = result.size // tile * tile
        if size:
            addresses, scratch = _addresses(updates), np.empty(CHUNK)
            pointers = (array.ctypes.data for array in (addresses, factors, scratch, result))
            mean(*pointers, len(updates), total, size)
        return size

    def add(self, updates: Sequence[Array], weights: Sequence[float], before: Floats | None, sums: Floats) -> int:
        """Put before + w_1 x_1 + ... + w_K x_K into the first elements of ``sums``, and return how many those are.

        They are all but the last few, less than ``TILE``, and those of
        :func:`orchestrator.aggregators.blocks.add_block`.

        Args:
            updates: As for the mean.
            weights: One for each update.
            before: What they are added to, shape (n,), contiguous; zeros if it is None.
            sums: Shape (n,), contiguous. It may be ``before`` itself.

        Raises:
            ValueError: If anything is otherwise: memory beyond an array would be read, or written to.
        """
        for array in (sums,) if before is None else (sums, before):
            self._check(updates, weights, array, np.dtype(np.float64))
        size = sums.size // TILE * TILE
        if size:
            addresses, factors = _addresses(updates), np.array(weights, np.float64)
            former = None if before is None else before.ctypes.data
            self._add(addresses.ctypes.data, factors.ctypes.data, former, sums.ctypes.data, len(updates), size)
        return size

    def _check(self, updates: Sequence[Array], weights: Sequence[float], result: Array, dtype: np.dtype[Any]) -> None:
        fits = all(_is_row(array, self._dtype, result.size) for array in updates)
        if len(updates) != len(weights) or not updates or not fits or not _is_row(result, dtype, result.size):
            kinds = f"{self._dtype}" if dtype == self._dtype else f"{self._dtype}, and sums of {dtype},"
            raise ValueError(f"needed are contiguous {kinds} of one shape (n,), and a weight for each update")


def _whole(weights: Sequence[float], total: float, dtype: np.dtype[Any]) -> Array | None:
    """Return whole numbers in the ratio of the weights, where int32 holds all sums that have these; else None.

    Such sums are exact in float64 too, so they are the same. What they are divided by is the sum of the weights.
    """
    if not all(0 <= weight < math.inf for weight in weights) or sum(weights) != total:
        return None
    ratios = [float(weight).as_integer_ratio() for weight in weights]
    denominator = max(below for _, below in ratios)  # they are powers of two
    whole = [above * (denominator // below) for above, below in ratios]
    furthest = 1 if dtype.kind == "b" else max(-np.iinfo(dtype).min, np.iinfo(dtype).max)
    fits = 0 < sum(whole) * furthest <= np.iinfo(np.int32).max
    return np.array(whole, np.int32) if fits else None


def _is_row(array: Array, dtype: np.dtype[Any], size: int) -> bool:
    return array.dtype == dtype and array.shape == (size,) and array.flags.c_contiguous


def _addresses(updates: Sequence[Array]) -> Array:
    return np.array([update.ctypes.data for update in updates], np.uintp)


@functools.cache
def mean_kernel(dtype: np.dtype[Any]) -> MeanKernel | None:
    """Return the kernel for ``dtype``, which is made when it is first asked for; None if there is none here."""
    if not dtype.isnative or dtype.kind not in "fiub" or dtype.itemsize > _LARGEST_BYTES:
        return None
    try:
        llvm = _load_llvm()
        return MeanKernel(dtype, llvm) if dtype != np.float16 or _has_half(llvm) else None
    except (ImportError, OSError, RuntimeError) as error:
        logger.warning("NumPy averages %s, which takes several times as long as machine code: %s", dtype, error)
        return None


def _load_llvm() -> Any:
    import llvmlite.binding as llvm  # noqa: PLC0415  # slow to import, and not needed for small models

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


def _has_fused(llvm: Any) -> bool:
    """Say whether the processor multiplies and adds with one rounding. Elsewhere each would be a call of a function."""
    return platform.machine().lower() in _ARM or bool(llvm.get_host_cpu_features().get("fma"))


def _has_half(llvm: Any) -> bool:
    """Say whether the processor converts float16. Elsewhere LLVM would call functions that are not there."""
    return platform.machine().lower() in _ARM or bool(llvm.get_host_cpu_features().get("f16c"))
