"""The signs of the largest changes: ``topk:0.01`` makes an upload of 1 % of the bytes, whatever the model.

Sattler, Wiedemann, Müller, Samek 2019, "Robust and Communication-Efficient Federated Learning from Non-IID Data"
(https://arxiv.org/abs/1903.02891), Algorithm 1 (sparse ternary compression): the values with the largest absolute value
among all arrays are kept, and each becomes its sign times the mean absolute value of all kept values; here, of the kept
values of its own array. The rest stays at the client, which adds it to its next update.

- **All arrays compete**: which layers change most differs from net to net and from round to round. And a single list
  needs no name and length for each array, which in a small net would be as long as the list itself.
- **Signs, not values**: an index and a full value take eight bytes, an index and a sign take one, so the same bytes
  keep eight times as many values. The error of the mean isn't lost, so many rough values are better than few exact
  ones.

The list ``moves`` is one array of 8-bit numbers, or of 16-bit ones for a share below 0.3 %. The highest bit of a number
is the sign. The other bits count the values to skip before the kept one; with all these bits set, that many values are
skipped and none is kept. So positions ascend, whatever the numbers. Numbers that keep none fill up the list's end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from celeriac.compressors import Compressor
from tasks.arrays import Array, Arrays, ArraySpec, Spec, spec_of
from tasks.errors import ArraysError, ConfigurationError

DEFAULT_SHARE = 0.01
LEAST_SHARE = 0.0001
MOST_SHARE = 0.25
"""One byte for each float32: every value can be kept."""

_LEAST_SHARE_OF_8_BITS = 0.003
_FLOAT_BYTES = 4
_BLOCK = 2**16

Indices = npt.NDArray[np.int64]


def topk(parameter: str) -> TopK:
    """Return the compressor ``topk:SHARE``; SHARE is 0.01 if there is no parameter.

    Raises:
        ConfigurationError: If the parameter is no number from 0.0001 to 0.25.
    """
    try:
        share = float(parameter) if parameter else DEFAULT_SHARE
    except ValueError:
        share = math.nan
    if not LEAST_SHARE <= share <= MOST_SHARE:
        raise ConfigurationError(
            f"compression 'topk:{parameter}': write topk:SHARE with SHARE from {LEAST_SHARE:g} to {MOST_SHARE:g}, "
            f"like topk:{DEFAULT_SHARE:g}"
        )
    return TopK(share)


class TopK(Compressor):
    """Arrays of float32 become ``moves``, uint8 or uint16, and ``sizes``, a float32 for each array in order of names.

    It is for updates alone: a few values can't represent a whole model.

    Args:
        share: Size of ``moves`` in bytes, as a share of the arrays' size.
    """

    also_models = False

    def __init__(self, share: float) -> None:
        self._share = share
        self._dtype = np.dtype("u1" if share >= _LEAST_SHARE_OF_8_BITS else "<u2")
        self._sign = 1 << (8 * self._dtype.itemsize - 1)
        self._pass = self._sign - 1

    def spec(self, original: Spec) -> Spec:
        """Return the spec of moves and sizes, for arrays of float32."""
        num_values = sum(math.prod(entry.shape) for entry in original.values())
        budget = math.ceil(self._share * _FLOAT_BYTES * num_values / self._dtype.itemsize)
        code = "U8" if self._dtype.itemsize == 1 else "U16"
        return {"moves": ArraySpec(code, (budget,)), "sizes": ArraySpec("F32", (len(original),))}

    def compress(self, arrays: Arrays) -> dict[str, Array]:
        """Return moves and sizes; of equally large values the first are kept, and zeros never."""
        original = spec_of(arrays)
        values = np.concatenate([np.zeros(0, np.float32), *(arrays[name].reshape(-1) for name in original)])
        [budget] = self.spec(original)["moves"].shape
        kept = self._fitting(largest(values, budget), budget)
        sizes, begin = [], 0
        for name in original:
            end = begin + arrays[name].size
            own = values[kept[np.searchsorted(kept, begin) : np.searchsorted(kept, end)]]
            sizes.append(np.abs(own, dtype=np.float64).mean() if own.size else 0.0)
            begin = end
        return {"moves": self._moves(kept, values[kept] < 0, budget), "sizes": np.array(sizes, np.float32)}

    def decompress(self, compressed: Arrays, original: Spec) -> Iterator[tuple[str, Array]]:
        """Yield the arrays: zeros except for the kept values.

        Raises:
            ArraysError: If a value is kept beyond the last array's end.
        """
        blocks = self._blocks(compressed["moves"])
        positions, negative = next(blocks)
        begin = 0
        for (name, entry), size in zip(original.items(), compressed["sizes"], strict=True):
            end = begin + math.prod(entry.shape)
            values = np.zeros(end - begin, np.float32)
            while True:
                num_own = np.searchsorted(positions, end)
                values[positions[:num_own] - begin] = np.where(negative[:num_own], -size, size)
                positions, negative = positions[num_own:], negative[num_own:]
                following = None if positions.size else next(blocks, None)
                if following is None:
                    break
                positions, negative = following
            yield name, values.reshape(entry.shape)
            begin = end
        if positions.size or any(more.size for more, _ in blocks):
            raise ArraysError(f"'moves' keeps a value beyond the {begin} that there are")

    def _fitting(self, largest_first: Indices, budget: int) -> Indices:
        """Return, ascending, as many of these positions as fit into a list of ``budget`` moves."""
        while True:
            kept = np.sort(largest_first)
            excess = kept.size + int(self._num_passes(kept).sum()) - budget
            if excess <= 0:
                return kept
            largest_first = largest_first[: max(kept.size - excess, 1)]

    def _num_passes(self, kept: Indices) -> Indices:
        """Return how many moves that keep none are needed before each position."""
        return (np.diff(kept, prepend=-1) - 1) // self._pass

    def _moves(self, kept: Indices, negative: npt.NDArray[np.bool_], budget: int) -> Array:
        passes = self._num_passes(kept)
        moves = np.full(budget, self._pass, self._dtype)
        steps = np.diff(kept, prepend=-1) - 1 - passes * self._pass
        moves[np.arange(kept.size) + np.cumsum(passes)] = steps + negative * self._sign
        return moves

    def _blocks(self, moves: Array) -> Iterator[tuple[Indices, npt.NDArray[np.bool_]]]:
        """Yield the kept positions, ascending, and which are negative, for each block of moves; at least once."""
        last = -1
        for start in range(0, max(moves.size, 1), _BLOCK):
            block = moves[start : start + _BLOCK]
            steps = (block & self._pass).astype(np.int64)
            keeps = steps != self._pass
            positions = last + np.cumsum(steps + keeps)
            last = int(positions[-1]) if positions.size else last
            yield positions[keeps], (block >= self._sign)[keeps]


def largest(values: Array, number: int) -> Indices:
    """Return the positions of up to ``number`` nonzero values, largest absolute value first, of equal ones the first.

    NaN counts as infinite. The order doesn't depend on NumPy's sorting algorithm.
    """
    lengths = np.abs(values)
    np.nan_to_num(lengths, copy=False, nan=np.inf, posinf=np.inf)
    limit = np.partition(lengths, -number)[-number] if 0 < number < lengths.size else np.float32(0)
    above = np.flatnonzero(lengths > limit)
    equal = np.flatnonzero(lengths == limit)[: number - above.size] if limit > 0 else above[:0]
    chosen = np.sort(np.concatenate([above, equal]))
    return chosen[np.argsort(-lengths[chosen], kind="stable")]
