"""What ``topk`` is held against: the largest changes as pairs of index and value, the textbook's top-k.

``benchmarks.topk_pairs:pairs:0.01`` makes an upload of 1 % of the bytes, as ``topk:0.01`` does; a pair takes eight.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from compressors import Compressor
from compressors.parameters import share
from compressors.topk import largest
from tasks.arrays import Array, Arrays, ArraySpec, Spec, spec_of

PAIR_BYTES = 8
_FLOAT_BYTES = 4


def pairs(parameter: str) -> Pairs:
    """Return the compressor ``pairs:SHARE``; 0.01 if there is no parameter."""
    return Pairs(share("pairs", parameter, 0.01, 0.0001, 1.0))


class Pairs(Compressor):
    """Arrays of float32 become ``indices``, uint32 that ascend over all arrays laid end to end, and ``values``."""

    also_models = False

    def __init__(self, wanted: float) -> None:
        self._share = wanted

    def spec(self, original: Spec) -> Spec:
        """Return the spec of indices and values."""
        num_values = sum(math.prod(entry.shape) for entry in original.values())
        number = min(math.ceil(self._share * _FLOAT_BYTES * num_values / PAIR_BYTES), num_values)
        return {"indices": ArraySpec("U32", (number,)), "values": ArraySpec("F32", (number,))}

    def compress(self, arrays: Arrays) -> dict[str, Array]:
        """Return the largest, and some zeros where fewer aren't."""
        original = spec_of(arrays)
        values = np.concatenate([np.zeros(0, np.float32), *(arrays[name].reshape(-1) for name in original)])
        [number] = self.spec(original)["indices"].shape
        kept = largest(values, number)
        rest = np.setdiff1d(np.arange(min(values.size, 2 * number)), kept)[: number - kept.size]
        indices = np.sort(np.concatenate([kept, rest]))
        return {"indices": indices.astype(np.uint32), "values": values[indices]}

    def decompress(self, compressed: Arrays, original: Spec) -> Iterator[tuple[str, Array]]:
        """Yield the arrays, zero but where a value was kept."""
        begin, values = 0, np.zeros(sum(math.prod(entry.shape) for entry in original.values()), np.float32)
        values[compressed["indices"]] = compressed["values"]
        for name, entry in original.items():
            end = begin + math.prod(entry.shape)
            yield name, values[begin:end].reshape(entry.shape)
            begin = end
