"""Checks that every update must pass before scoring: the model's names, shapes and dtypes, and usable numbers."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np

from celeriac.geometry import LARGEST, lengths
from tasks.arrays import BFLOAT16, Array, Arrays, Spec, difference, is_float, spec_of
from tasks.auxiliary import parts_of
from tasks.errors import FederationError
from tasks.results import KIND as RESULTS
from tasks.results import Declared
from tasks.results import difference as difference_of_results
from verification.proportion import PARAMETERS, in_short, part_of, result_part

_BLOCK = 2**18
LARGEST_WHOLE = 2**53
"""Largest whole number in an update. Means are taken in float64, which holds every whole number up to this one."""
LARGEST_OF_MODEL = 2**52
"""Largest whole number in a model: half of ``LARGEST_WHOLE``, so a client can count on from it."""
_CACHED = 2**17
"""Elements to subtract at a time: they stay in a core's cache until they are summed."""
_ROW = 2**13
"""Elements that BLAS sums at a time: from 10,000 on it splits them among the cores, which changes the last digits."""
_INFINITY_BITS = {np.dtype(np.float16): (0x7C00, 0xFC00), BFLOAT16: (0x7F80, 0xFF80)}
"""Bits of plus and minus infinity in 16 bits. As integers of one sign, a NaN's are greater, a finite number's less."""


class UpdateRejectedError(FederationError):
    """Raised when an update can't be aggregated; the message says why."""


def check_update(update: Arrays, spec: Spec) -> None:
    """Check ``update`` against the spec of the global model.

    Raises:
        UpdateRejectedError: If a name, shape or dtype differs, a value is not finite, or a whole number is too large.
    """
    _check_layout(update, spec)
    for name in spec:
        if not is_finite(update[name]):
            raise _not_finite(name)


def _check_layout(update: Arrays, spec: Spec) -> None:
    """Check names, shapes and dtypes, and that no whole number is too large.

    Raises:
        UpdateRejectedError: If a name, shape or dtype differs, or a whole number is too large.
    """
    if wrong := difference(spec_of(update), spec):
        raise UpdateRejectedError(wrong)
    if too_large := too_large_whole(update):
        raise UpdateRejectedError(too_large)


def _not_finite(name: str) -> UpdateRejectedError:
    return UpdateRejectedError(f"array {name!r} has values that are NaN or infinite")


def measure_update(update: Arrays, spec: Spec, model: Arrays, buffers: Collection[str]) -> dict[str, float]:
    """Check ``update`` as :func:`check_update` does, and return the L2 length of its change, by part.

    One pass over the update does both. Lengths have six digits; parts without arrays of floats are left out.

    Args:
        update: Parameters, and the sets that go with them. Not changed.
        spec: The spec that it must have.
        model: The model that it started from; sets start from zeros. Not changed.
        buffers: Names of the model's arrays that aren't trained.

    Raises:
        UpdateRejectedError: If a name, shape or dtype differs, a value is not finite, or a whole number is too large.
    """
    _check_layout(update, spec)
    squares: dict[str, float] = {}
    for name in spec:
        if is_float(update[name].dtype):
            square = squared_change(update[name], model.get(name))
            if square is None:
                raise _not_finite(name)
            part = part_of(name, buffers)
            squares[part] = squares.get(part, 0.0) + square
    return in_short(squares)


def measure_results(found: Arrays, declared: Declared) -> dict[str, float]:
    """Check a client's results, and return the L2 length of those by which updates are judged, by part.

    Raises:
        UpdateRejectedError: If they aren't what is declared.
    """
    if wrong := difference_of_results(found, declared):
        raise UpdateRejectedError(wrong)
    judged = {name: values.astype(np.float64) for name, values in found.items() if declared[name].judged}
    return in_short({result_part(name): squared_change(values, None) or 0.0 for name, values in judged.items()})


def too_large_whole(arrays: Arrays, most: int = LARGEST_WHOLE) -> str:
    """Return a message on the first array with a whole number that is too large for a mean; empty if there is none."""
    for name, values in arrays.items():
        found = max(int(values.max()), -int(values.min())) if _is_long(values) and values.size else 0
        if found > most:
            power = most.bit_length() - 1
            return f"array {name!r} has a whole number of size {found}: up to {most} (2**{power}) is allowed"
    return ""


def within_whole(arrays: Arrays) -> dict[str, Array]:
    """Return the arrays with their whole numbers clipped to ``LARGEST_OF_MODEL``."""
    return {name: _clipped(values) if _is_long(values) else values for name, values in arrays.items()}


def _clipped(values: Array) -> Array:
    least = 0 if values.dtype.kind == "u" else -LARGEST_OF_MODEL
    return np.asarray(np.clip(values, values.dtype.type(least), values.dtype.type(LARGEST_OF_MODEL)))


def _is_long(values: Array) -> bool:
    return values.dtype.kind in "iu" and values.dtype.itemsize == 8


def own_length(part: str, model: Arrays, buffers: Collection[str]) -> float:
    """Return the L2 length of a part of the model itself; for a part of a set, of the matching part of the model.

    A result has no part of the model to match: 0.
    """
    kind, own_name = parts_of(part)
    if kind == RESULTS:
        return 0.0
    own_part = own_name or PARAMETERS
    floats = {name: values for name, values in model.items() if is_float(values.dtype)}
    squares = [squared_change(values, None) for name, values in floats.items() if part_of(name, buffers) == own_part]
    return math.sqrt(sum(square or 0.0 for square in squares))


def squared_change(values: Array, start: Array | None) -> float | None:
    """Return the squared L2 length of ``values - start``; None if a value is NaN or infinite.

    A NaN or an infinity makes the sum not finite. Large numbers may too, so then the values are checked and the length
    is computed again in float64. Differences and sums of ``_ROW`` squares are taken in the values' own precision, for
    float16 and bfloat16 in float32: five digits are right.

    Args:
        values: Floats. Not changed.
        start: The values that they started from, of the same shape; None for zeros. Not changed.
    """
    flat = values.reshape(-1)
    flat_start = None if start is None else start.reshape(-1)
    dtype = np.result_type(values.dtype.newbyteorder("="), np.float32)
    scratch = np.empty(min(_CACHED, flat.size), dtype)
    total = 0.0
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for begin in range(0, flat.size, _CACHED):
            block = slice(begin, min(begin + _CACHED, flat.size))
            change = scratch[: block.stop - begin]
            if flat_start is None:
                change = flat[block].astype(dtype, copy=False)
            else:
                np.subtract(flat[block], flat_start[block], out=change, dtype=dtype)
            total += _squared_length(change)
    if math.isfinite(total):
        return total
    if not is_finite(values):
        return None
    origin = np.broadcast_to(np.zeros((), values.dtype), values.shape) if start is None else start
    exact = float(lengths([{"": values}], {"": origin})[0]) ** 2
    return exact if math.isfinite(exact) else LARGEST**2  # the model itself is not finite


def _squared_length(change: Array) -> float:
    """Return the sum of squares, row by row: BLAS sums so few elements in one order, however many cores there are."""
    whole = change.size - change.size % _ROW
    rows, rest = change[:whole].reshape(-1, _ROW), change[whole:]
    return float(np.vecdot(rows, rows).sum(dtype=np.float64)) + float(np.vecdot(rest, rest))


def is_finite(values: Array) -> bool:
    """Say whether no element is NaN or infinite; goes block by block to save memory."""
    if not is_float(values.dtype):
        return True
    flat = values.reshape(-1)
    return all(_is_finite(flat[start : start + _BLOCK]) for start in range(0, flat.size, _BLOCK))


def _is_finite(block: Array) -> bool:
    """Say whether no element of a one-dimensional block is NaN or infinite, at the speed of memory."""
    if block.dtype in _INFINITY_BITS:
        plus, minus = _INFINITY_BITS[block.dtype]
        return bool(block.view(np.int16).max() < plus and block.view(np.uint16).max() < minus)
    # A NaN or an infinity makes the sum not finite. Large numbers may too, so then each element is checked. einsum sums
    # without a warning.
    return bool(np.isfinite(np.einsum("i->", block)) or np.isfinite(block).all())
