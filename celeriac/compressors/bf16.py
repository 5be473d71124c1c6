"""bfloat16: the upper half of a float32, rounded to nearest, halves to even.

It has float32's range and 8 significant bits (Kalamkar et al. 2019, "A Study of BFLOAT16 for Deep Learning Training",
https://arxiv.org/abs/1905.12322): the relative error is at most 1/256; below 1e-38 the error is absolute. NaN and
infinities are kept; a value that rounds beyond the largest number becomes infinite, as IEEE 754 says.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from celeriac.compressors import no_parameter
from celeriac.compressors.arraywise import Arraywise
from tasks.arrays import Array, Arrays, ArraySpec, Spec

_HALF = np.uint32(0x7FFF)
_QUIET = np.uint32(0x0040)


class Bf16(Arraywise):
    """Arrays of float32 and float64 become uint16 of the same shape; float16, as short and more exact, is kept."""

    dtypes = ("F32", "F64")

    def __init__(self, parameter: str = "") -> None:
        no_parameter("bf16", parameter)

    def parts(self, original: ArraySpec) -> Spec:
        """Return one part, of the array's shape."""
        return {"values": ArraySpec("U16", original.shape)}

    def encode(self, values: Array) -> dict[str, Array]:
        """Return the upper halves."""
        return {"values": to_bf16(values)}

    def decode(self, parts: Arrays, original: ArraySpec) -> Array:
        """Return float32 whose lower halves are zero."""
        return from_bf16(parts["values"])


def to_bf16(values: Array) -> npt.NDArray[np.uint16]:
    """Return floats as the 16 bits of the nearest bfloat16: the same shape."""
    with np.errstate(over="ignore"):
        bits = values.reshape(-1).astype(np.float32).view(np.uint32)
    upper = bits >> 16
    # Add half of the last kept place, one less where the upper half is even: halves then round to even.
    rounded = (bits + (_HALF + (upper & 1))) >> 16
    # The sum would turn some NaN into numbers; the quiet bit keeps a NaN whose payload was all in the lower half.
    return np.where(np.isnan(values.reshape(-1)), upper | _QUIET, rounded).astype(np.uint16).reshape(values.shape)


def from_bf16(bits: Array) -> npt.NDArray[np.float32]:
    """Return the float32 values of bfloat16 bits: the same shape."""
    return (bits.reshape(-1).astype(np.uint32) << 16).view(np.float32).reshape(bits.shape)
