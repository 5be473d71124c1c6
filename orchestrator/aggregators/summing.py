"""Running weighted sums of updates in float64, and their division by a total."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor

import numpy as np

from orchestrator.aggregators.blocks import Floats, add_block, each_part, rounded
from orchestrator.aggregators.kernel import MeanKernel
from orchestrator.aggregators.mean import BLOCK
from tasks.arrays import Array


def put_sums(
    sums: Floats,
    before: Floats | None,
    updates: Sequence[Array],
    weights: Sequence[float],
    kernel: MeanKernel | None,
    threads: Executor,
) -> None:
    """Put before + w_1 x_1 + ... + w_K x_K into ``sums``, added in this order, part by part.

    Every bit is the same with any number of threads, and with or without the kernel.

    Args:
        sums: Shape (n,). It may be ``before`` itself.
        before: The sums so far, shape (n,); None for zeros.
        updates: At least one, of shape (n,) and the kernel's dtype, contiguous. Not changed.
        weights: One for each update.
        kernel: Adds all but the last few elements of a part; NumPy adds the rest, or all without a kernel.
        threads: Threads to add the parts in.
    """

    def put_part(part: slice) -> None:
        values, former = [update[part] for update in updates], before if before is None else before[part]
        num_done = kernel.add(values, weights, former, sums[part]) if kernel else 0
        scaled = np.empty(min(BLOCK, part.stop - part.start - num_done))
        for start in range(part.start + num_done, part.stop, BLOCK):
            block = slice(start, min(start + BLOCK, part.stop))
            sums[block] = 0.0 if before is None else before[block]
            weighted = [(update[block], weight) for update, weight in zip(updates, weights, strict=True)]
            add_block(weighted, sums[block], scaled[: block.stop - start])

    each_part(put_part, updates[0], threads)


def put_quotients(result: Array, sums: Floats, total: float, threads: Executor) -> None:
    """Put sums / total, rounded once to the result's dtype, into ``result``, part by part; both are of shape (n,)."""

    def put_part(part: slice) -> None:
        quotients = np.empty(min(BLOCK, part.stop - part.start))
        for start in range(part.start, part.stop, BLOCK):
            block = slice(start, min(start + BLOCK, part.stop))
            found = np.divide(sums[block], total, out=quotients[: block.stop - start])
            result[block] = rounded(found, result.dtype)

    each_part(put_part, result, threads)
