"""Eight bits a value: whole numbers from -127 to 127, times a scale for each block of 256 values.

The scale is the block's largest absolute value over 127, so the error is at most half a scale, 0.4 % of the block's
largest value. (Blocks: Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization",
https://arxiv.org/abs/2110.02861; an outlier costs precision in its own block alone.) The scale of a block of 256 values
takes four bytes, 1.6 % more.

Values are rounded to the nearest. Stochastic rounding (QSGD, Alistarh et al. 2017, https://arxiv.org/abs/1610.02132) is
unbiased where the rounding error is thrown away. Here the client adds the error to its next update, so nothing is lost
either way, and rounding to the nearest has half the largest error and needs no seed.
"""

from __future__ import annotations

import math

import numpy as np

from celeriac.compressors import no_parameter
from celeriac.compressors.arraywise import Arraywise
from tasks.arrays import Array, Arrays, ArraySpec, Spec

BLOCK = 256
LARGEST = 127


class Int8(Arraywise):
    """Arrays of floats become int8 of the same shape, and a float32 scale for each 256 values in C order."""

    dtypes = ("F16", "BF16", "F32", "F64")

    def __init__(self, parameter: str = "") -> None:
        no_parameter("int8", parameter)

    def parts(self, original: ArraySpec) -> Spec:
        """Return values and scales."""
        num_blocks = -(-math.prod(original.shape) // BLOCK)
        return {"values": ArraySpec("I8", original.shape), "scales": ArraySpec("F32", (num_blocks,))}

    def encode(self, values: Array) -> dict[str, Array]:
        """Return round(x / scale), and the scales. A block with NaN or infinities has such a scale too."""
        blocks = _blocks(values)
        with np.errstate(all="ignore"):
            scales = np.abs(blocks).max(axis=1, initial=0.0) / np.float32(LARGEST)
            blocks /= np.where(scales > 0, scales, np.inf)[:, None]
            whole = np.clip(np.rint(blocks, out=blocks), -LARGEST, LARGEST, out=blocks).astype(np.int8)
        return {"values": whole.reshape(-1)[: values.size].reshape(values.shape), "scales": scales}

    def decode(self, parts: Arrays, original: ArraySpec) -> Array:
        """Return values times scales, in float32."""
        blocks = _blocks(parts["values"])
        blocks *= parts["scales"][:, None]
        return blocks.reshape(-1)[: math.prod(original.shape)]


def _blocks(values: Array) -> Array:
    """Return a float32 copy in rows of one block each, the last row padded with zeros."""
    rows = np.zeros((-(-values.size // BLOCK), BLOCK), np.float32)
    with np.errstate(over="ignore"):
        rows.reshape(-1)[: values.size] = values.reshape(-1)
    return rows
