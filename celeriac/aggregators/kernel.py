"""Adds weighted float32 updates to sums by machine code that LLVM makes for this processor, several in one pass.

NumPy goes over a block three times for each update (it converts, multiplies, adds), and reads one update at a time.
That takes three to four times as long, a tenth of a round of a hundred clients with 40 MB each. The operations here are
NumPy's in NumPy's order, with no instruction that fuses or reorders them, so the sums are equal to the last bit. NumPy
adds every other dtype.

llvmlite compiles it in some hundredths of a second, and keeps nothing on disk. Where a process may not make memory
executable (systemd's ``MemoryDenyWriteExecute``, SELinux), NumPy adds these too.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import mmap
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from celeriac.aggregators.blocks import Add, Floats, add_block
from tasks.arrays import Array

logger = logging.getLogger(__name__)

LARGE_BYTES = 2**25
"""Size of all updates from which machine code saves more time than LLVM takes to be loaded."""
TILE = 32
"""Elements whose sums are in registers: four of AVX-512's, eight of AVX2's, sixteen of NEON's."""
GROUP = 8
"""Updates that are read side by side: a cache keeps eight lines at addresses that are equal in their low bits."""

_ADD = """
define void @add(ptr %updates, ptr %weights, ptr %sums, i64 %num_updates, i64 %size) {
entry:
  br label %tile
tile:
  %i = phi i64 [0, %entry], [%i.next, %added]
  %sums.i = getelementptr double, ptr %sums, i64 %i
  %before = load <32 x double>, ptr %sums.i, align 8
  br label %update
update:
  %k = phi i64 [0, %tile], [%k.next, %update]
  %sum = phi <32 x double> [%before, %tile], [%sum.next, %update]
  %update.slot = getelementptr ptr, ptr %updates, i64 %k
  %update.k = load ptr, ptr %update.slot, align 8
  %x.slot = getelementptr float, ptr %update.k, i64 %i
  %x = load <32 x float>, ptr %x.slot, align 1
  %wide = fpext <32 x float> %x to <32 x double>
  %weight.slot = getelementptr double, ptr %weights, i64 %k
  %weight = load double, ptr %weight.slot, align 8
  %weight.0 = insertelement <32 x double> poison, double %weight, i64 0
  %weights.k = shufflevector <32 x double> %weight.0, <32 x double> poison, <32 x i32> zeroinitializer
  %product = fmul <32 x double> %wide, %weights.k
  %sum.next = fadd <32 x double> %sum, %product
  %k.next = add i64 %k, 1
  %more_updates = icmp ult i64 %k.next, %num_updates
  br i1 %more_updates, label %update, label %added
added:
  store <32 x double> %sum.next, ptr %sums.i, align 8
  %i.next = add i64 %i, 32
  %more_tiles = icmp ult i64 %i.next, %size
  br i1 %more_tiles, label %tile, label %done
done:
  ret void
}
"""
"""In LLVM's language (https://llvm.org/docs/LangRef.html): for 32 sums at a time, add each weighted update."""
_ADDRESS, _COUNT = ctypes.c_void_p, ctypes.c_int64
_SIGNATURE = ctypes.CFUNCTYPE(None, _ADDRESS, _ADDRESS, _ADDRESS, _COUNT, _COUNT)


class Kernel:
    """Adds float32 updates as :func:`celeriac.aggregators.blocks.add_block` does.

    Any number of threads may call it at a time; others run meanwhile.

    Args:
        llvm: The module ``llvmlite.binding``.
    """

    def __init__(self, llvm: Any) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        target = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
        )
        # The engine owns the target and holds the code: it has to live as long as that may be called.
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(_ADD), target)
        self._engine.finalize_object()
        self._add = _SIGNATURE(self._engine.get_function_address("add"))

    def __call__(self, updates: Sequence[Array], weights: Sequence[float], sums: Floats) -> None:
        """Add to ``sums``, shape (n,). Updates may be read-only, and at addresses that are not aligned.

        Raises:
            ValueError: If anything isn't contiguous and of the right dtype and shape: memory beyond an array would be
                read, or written to.
        """
        of_right_dtype = sums.dtype == np.float64 and all(values.dtype == np.float32 for values in updates)
        fits = all(each.shape == (sums.size,) and each.flags.c_contiguous for each in (sums, *updates))
        if len(updates) != len(weights) or not of_right_dtype or not fits:
            raise ValueError("needed are contiguous float32 and float64 sums of one shape (n,), and all weights")
        size = sums.size // TILE * TILE
        for start in range(0, len(updates) if size else 0, GROUP):
            addresses = np.array([values.ctypes.data for values in updates[start : start + GROUP]], np.uintp)
            factors = np.array(weights[start : start + GROUP], np.float64)
            self._add(addresses.ctypes.data, factors.ctypes.data, sums.ctypes.data, addresses.size, size)
        add_block([values[size:] for values in updates], weights, sums[size:])


def adder(dtype: np.dtype[Any], num_bytes: int) -> Add:
    """Return what adds updates of ``dtype`` with so many bytes together: machine code or NumPy, to equal sums."""
    return (float32_kernel() if dtype == np.float32 and num_bytes >= LARGE_BYTES else None) or add_block


@functools.cache
def float32_kernel() -> Kernel | None:
    """Return the kernel, which is made when it is first asked for; None if there is none here."""
    try:
        require_executable_memory()
        import llvmlite.binding as llvm  # noqa: PLC0415  # slow to import, and not needed for small models

        return Kernel(llvm)
    except (ImportError, OSError, RuntimeError) as error:
        logger.warning("NumPy averages, which takes several times as long as machine code: %s", error)
        return None


def require_executable_memory() -> None:
    """Make a page of memory executable after writing to it is over, as LLVM does, which doesn't look at the answer.

    Raises:
        OSError: If that isn't allowed here.
    """
    with mmap.mmap(-1, mmap.PAGESIZE) as page:
        c = ctypes.CDLL(None, use_errno=True)
        start = ctypes.c_char.from_buffer(page)
        failed = c.mprotect(ctypes.byref(start), ctypes.c_size_t(mmap.PAGESIZE), mmap.PROT_READ | mmap.PROT_EXEC)
        del start  # the page can't be closed before
        if failed:
            cause = os.strerror(ctypes.get_errno())
            raise OSError(
                f"memory can't be made executable here: {cause} (MemoryDenyWriteExecute= allows it with 'no')"
            )
