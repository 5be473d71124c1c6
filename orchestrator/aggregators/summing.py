"""Running weighted sums of updates in float64, and their division by a total."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor

import numpy as np

from orchestrator.aggregators.blocks import Add, Floats, each_part, rounded
from orchestrator.aggregators.mean import BLOCK
from tasks.arrays import Array


def put_sums(
    sums: Floats,
    before: Floats | None,
    updates: Sequence[Array],
    weights: Sequence[float],
    add: Add,
    threads: Executor,
) -> None:
    """Put before + w_1 x_1 + ... + w_K x_K into ``sums``, added in this order, part by part.

    Args:
        sums: Shape (n,). It may be ``before`` itself.
        before: The sums so far, shape (n,); None for zeros.
        updates: At least one, of shape (n,), contiguous. Not changed.
        weights: One for each update.
        add: Adds them to the sums of a block.
        threads: Threads to add the parts in.
    """

    def put_part(part: slice) -> None:
        for start in range(part.start, part.stop, BLOCK):
            block = slice(start, min(start + BLOCK, part.stop))
            sums[block] = 0.0 if before is None else before[block]
            add([values[block] for values in updates], weights, sums[block])

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
