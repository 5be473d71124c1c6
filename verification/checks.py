"""What every update must be to be looked at further: of the model's names, shapes and dtypes, and of fit numbers."""

from __future__ import annotations

import numpy as np

from tasks.arrays import Array, Arrays, Spec, spec_of
from tasks.errors import FederationError

_BLOCK = 2**18
LARGEST_WHOLE = 2**53
"""Means are taken in float64, which holds every whole number up to this, and beyond it one of two at the most."""
_INFINITY_BITS, _MINUS_INFINITY_BITS = 0x7C00, 0xFC00
"""Of float16: the bits of a NaN are greater, as integers of the same sign, those of finite numbers are less."""


class UpdateRejectedError(FederationError):
    """Raised when an update can't be aggregated: the message says what is wrong with it."""


def check_update(update: Arrays, spec: Spec) -> None:
    """Check ``update`` against the spec of the global model.

    Raises:
        UpdateRejectedError: If a name, shape or dtype differs, a value is not finite, or a whole number is too large.
    """
    found = spec_of(update)
    if found.keys() != spec.keys():
        missing, extra = sorted(spec.keys() - found.keys()), sorted(found.keys() - spec.keys())
        raise UpdateRejectedError(f"array names differ from the model's: missing {missing[:5]}, unknown {extra[:5]}")
    for name, expected in spec.items():
        if found[name] != expected:
            raise UpdateRejectedError(
                f"array {name!r} is {found[name].dtype} {found[name].shape}, "
                f"the model's is {expected.dtype} {expected.shape}"
            )
    for name in spec:
        if not is_finite(update[name]):
            raise UpdateRejectedError(f"array {name!r} has values that are NaN or infinite")
    too_large = too_large_whole(update)
    if too_large:
        raise UpdateRejectedError(too_large)


def too_large_whole(arrays: Arrays) -> str:
    """Say which array has a whole number that is too large for a mean; empty if none has."""
    for name, values in arrays.items():
        is_long = values.dtype.kind in "iu" and values.dtype.itemsize == 8 and values.size
        found = max(int(values.max()), -int(values.min())) if is_long else 0
        if found > LARGEST_WHOLE:
            return f"array {name!r} has a whole number of size {found}: up to {LARGEST_WHOLE} (2**53) is allowed"
    return ""


def is_finite(values: Array) -> bool:
    """Say whether no element is NaN or infinite; looks at a block at a time, so as not to need memory for all."""
    if values.dtype.kind != "f":
        return True
    flat = values.reshape(-1)
    return all(_is_finite(flat[start : start + _BLOCK]) for start in range(0, flat.size, _BLOCK))


def _is_finite(block: Array) -> bool:
    """Say the same of an array of one dimension, at the speed of memory."""
    if block.dtype == np.float16:
        return bool(block.view(np.int16).max() < _INFINITY_BITS and block.view(np.uint16).max() < _MINUS_INFINITY_BITS)
    # What is not finite makes the sum so. Large numbers may too; then each is looked at. einsum sums without a warning.
    return bool(np.isfinite(np.einsum("i->", block)) or np.isfinite(block).all())
