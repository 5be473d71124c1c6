"""Weighted sums of updates that go on from call to call, in float64, and what they are divided by a total."""

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

    Neither the threads nor the kernel make a difference to any bit.

    Args:
        sums: Shape (n,). It may be ``before`` itself.
        before: What the updates are added to, shape (n,); zeros if it is None.
        updates: At least one, of shape (n,) and the kernel's dtype, contiguous. Not changed.
        weights: One for each update.
        kernel: What adds all but the last few of a part; NumPy does if it is None.
        threads: What the parts are shared out to.
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
    """Put sums / total, rounded once to the result's dtype, into ``result``, part by part; both have shape (n,)."""

    def put_part(part: slice) -> None:
        quotients = np.empty(min(BLOCK, part.stop - part.start))
        for start in range(part.start, part.stop, BLOCK):
            block = slice(start, min(start + BLOCK, part.stop))
            found = np.divide(sums[block], total, out=quotients[: block.stop - start])
            result[block] = rounded(found, result.dtype)

    each_part(put_part, result, threads)
