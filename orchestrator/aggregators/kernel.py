"""The weighted mean in machine code that LLVM makes for this processor: one pass over the updates, sums in registers.

NumPy goes over a block several times for each update: it converts, multiplies and adds. Here memory is what limits. The
operations are those of NumPy in the same order, so the results are the same to the last bit.

llvmlite compiles what a dtype needs within some milliseconds; nothing is kept on disk. Where it can't, there is no
kernel, and NumPy does all the work.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import platform
from collections.abc import Sequence
from typing import Any

import numpy as np

from orchestrator.aggregators.kernel_ir import CHUNK, TILE, mean_ir
from tasks.arrays import Array

logger = logging.getLogger(__name__)

_ADDRESS, _COUNT = ctypes.c_void_p, ctypes.c_int64
_MEAN = ctypes.CFUNCTYPE(None, _ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS, _COUNT, ctypes.c_double, _COUNT)
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
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(mean_ir(dtype)), target)
        self._engine.finalize_object()
        self._mean = _MEAN(self._engine.get_function_address("mean"))

    def __call__(self, updates: Sequence[Array], weights: Sequence[float], total: float, result: Array) -> int:
        """Put sum_k(w_k x_k) / total, rounded, into the first elements of ``result``, and return how many those are.

        They are all but the last few, less than ``TILE``. Sums and rounding are those of
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
        if len(updates) != len(weights) or not all(self._takes(array, result) for array in (*updates, result)):
            raise ValueError(f"needed are contiguous {self._dtype} of one shape (n,), and a weight for each update")
        size = result.size // TILE * TILE
        if size:
            addresses = np.array([update.ctypes.data for update in updates], np.uintp)
            factors, sums = np.array(weights, np.float64), np.empty(CHUNK)
            pointers = (array.ctypes.data for array in (addresses, factors, sums, result))
            self._mean(*pointers, len(updates), total, size)
        return size

    def _takes(self, array: Array, result: Array) -> bool:
        is_flat = array.ndim == 1 and array.flags.c_contiguous
        return is_flat and array.dtype == self._dtype and array.size == result.size


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


def _has_half(llvm: Any) -> bool:
    """Say whether the processor converts float16. Elsewhere LLVM would call functions that are not there."""
    return platform.machine().lower() in _ARM or bool(llvm.get_host_cpu_features().get("f16c"))
