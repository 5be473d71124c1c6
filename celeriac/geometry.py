"""Lengths, distances and angles of updates' deltas.

A delta is an update's parameters minus the global model's (the origin's): all arrays of floats concatenated in the
order of their names. Arrays of integers and booleans (counters) are left out, as they are not trained. So are arrays
that the origin lacks: a caller removes buffers (running statistics) from the origin to compare trained arrays alone.

All functions compute in float64 over blocks of ``BLOCK`` elements. They need memory for a few blocks of each of K
updates and for a K x K matrix, however large the model is. Arrays that are not contiguous are copied whole.

Elements of a delta beyond ±1e120, which only float64 models can have, count as ±1e120. So squares and their sums stay
finite, and an update with huge parameters doesn't affect the other updates' numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.arrays import Array, Arrays, is_float

BLOCK = 2**13
"""Elements of each update in a block: for ten updates they take 0.7 MB in float64.

BLAS multiplies vectors of more than 10,000 elements with as many threads as there are cores. These sum in another order
than one does, and wait for each other where processors are busy.
"""

Floats = npt.NDArray[np.float64]

LARGEST = 1e120
"""Elements of a delta are clipped to plus and minus this."""

_NO_DISTANCE = 1e-12
_NO_CENTRE = 1e-12


def delta_blocks(updates: Sequence[Arrays], origin: Arrays) -> Iterator[Floats]:
    """Yield the deltas of ``updates`` from ``origin``, a block at a time.

    Args:
        updates: Parameters with at least the names of ``origin``, and its shapes. Not changed.
        origin: The global model, or only its arrays to compare. Not changed.

    Yields:
        Shape (number of updates, up to ``BLOCK``). Each overwrites the one before.
    """
    deltas = np.empty((len(updates), BLOCK))
    for name in sorted(name for name, values in origin.items() if is_float(values.dtype)):
        start = origin[name].reshape(-1)
        flat = [update[name].reshape(-1) for update in updates]
        for begin in range(0, start.size, BLOCK):
            block = slice(begin, min(begin + BLOCK, start.size))
            part = deltas[:, : block.stop - begin]
            for row, values in zip(part, flat, strict=True):
                _subtract(values[block], start[block], row)
            yield part


def _subtract(values: Array, start: Array, delta: Floats) -> None:
    """Put ``values - start`` into ``delta``."""
    if values.dtype.itemsize < delta.dtype.itemsize:
        np.subtract(values, start, out=delta, dtype=np.float64)
        return
    with np.errstate(over="ignore"):  # infinities are clipped below
        np.subtract(values, start, out=delta, dtype=np.float64)
    np.clip(delta, -LARGEST, LARGEST, out=delta)


def lengths(updates: Sequence[Arrays], origin: Arrays) -> Floats:
    """Return the L2 norm of every delta: shape (K,)."""
    squares = np.zeros(len(updates))
    for deltas in delta_blocks(updates, origin):
        squares += np.vecdot(deltas, deltas)
    return np.sqrt(squares)


def dot_products(updates: Sequence[Arrays], origin: Arrays) -> Floats:
    """Return the dot product of every two deltas: shape (K, K)."""
    gram = np.zeros((len(updates), len(updates)))
    for deltas in delta_blocks(updates, origin):
        gram += deltas @ deltas.T
    return gram


def squared_distances(updates: Sequence[Arrays], origin: Arrays) -> Floats:
    """Return the squared L2 distance of every two updates: symmetric, shape (K, K), zeros on the diagonal.

    They come from the deltas' Gram matrix G, |a - b|² = G_aa + G_bb - 2 G_ab: one matrix product a block. This is
    inexact for distances that are small beside the deltas: squared distances below 1e-12 (G_aa + G_bb) are set to 0.
    """
    gram = dot_products(updates, origin)
    squares = np.diag(gram)
    sums = squares[:, None] + squares
    distances = sums - (gram + gram.T)
    distances[distances < _NO_DISTANCE * sums] = 0.0
    np.fill_diagonal(distances, 0.0)
    return distances


def sums_of_nearest(distances: Floats, num_nearest: int) -> Floats:
    """Return for every update the sum of its ``num_nearest`` smallest distances to others: shape (K,).

    Args:
        distances: The distances of every two updates: shape (K, K). Not changed.
        num_nearest: From 0. With fewer others the sum is infinite.
    """
    to_others = distances.copy()
    np.fill_diagonal(to_others, np.inf)
    sums: Floats = np.sort(to_others, axis=1)[:, :num_nearest].sum(axis=1)
    return sums


def cosines(updates: Sequence[Arrays], reference: Arrays, origin: Arrays) -> Floats:
    """Return the cosine of the angle between every delta and the delta of ``reference``: shape (K,), -1 to 1.

    It is 0 where either delta is zero.
    """
    return compared(updates, reference, origin).cosines


@dataclass(frozen=True, slots=True)
class Comparison:
    """Updates' deltas compared with a reference's delta.

    Attributes:
        cosines: Cosine of the angle between every delta and the reference's: shape (K,), -1 to 1; 0 if either is zero.
        lengths: L2 norm of every delta: shape (K,).
        reference_length: L2 norm of the reference's delta.
    """

    cosines: Floats
    lengths: Floats
    reference_length: float


def compared(updates: Sequence[Arrays], reference: Arrays, origin: Arrays) -> Comparison:
    """Compare the deltas with the delta of ``reference``, reading each update once."""
    dots, squares, reference_square = np.zeros(len(updates)), np.zeros(len(updates)), 0.0
    for deltas in delta_blocks([*updates, reference], origin):
        others, towards = deltas[:-1], deltas[-1]
        dots += np.vecdot(others, towards)
        squares += np.vecdot(others, others)
        reference_square += float(np.vecdot(towards, towards))
    each, reference_length = np.sqrt(squares), math.sqrt(reference_square)
    return Comparison(_quotients(dots, each * reference_length), each, reference_length)


def cosines_with_others(updates: Sequence[Arrays], origin: Arrays) -> Floats:
    """Return the cosine of the angle between every delta and the centre of the others' directions: shape (K,), -1 to 1.

    The centre for a delta is the coordinate-wise median of all other deltas, each scaled to length 1 (see
    :mod:`verification.cosine`). Deltas that are zero are in no median, and their cosine is 0. The cosine is also 0 if
    the centre is zero, as between two opposite directions, or if there are no others.
    """
    each = lengths(updates, origin)
    moved = each > 0
    cosines = np.zeros(len(updates))
    if moved.sum() > 1:
        cosines[moved] = _cosines_with_others(
            [u for u, m in zip(updates, moved, strict=True) if m], each[moved], origin
        )
    return cosines


def _cosines_with_others(updates: Sequence[Arrays], each: Floats, origin: Arrays) -> Floats:
    dots, squares = np.zeros(len(updates)), np.zeros(len(updates))
    for deltas in delta_blocks(updates, origin):
        directions = deltas / each[:, None]
        centres = medians_of_others(directions)
        dots += np.vecdot(directions, centres)
        squares += np.vecdot(centres, centres)
    centre_lengths = np.sqrt(squares)
    return _quotients(dots, np.where(centre_lengths > _NO_CENTRE, centre_lengths, 0.0))


def medians_of_others(rows: Floats) -> Floats:
    """Return for each row the column-wise median of all other rows: shape (K, n) like ``rows``; K is at least 2.

    Removing a row moves the median at most to the next value, so three order statistics give all K medians.
    """
    half = (len(rows) - 1) // 2
    places = [half, half + 1] if len(rows) % 2 == 0 else [half - 1, half, half + 1]
    ranked = np.partition(rows, places, axis=0)[places]
    low, high = ranked[0], ranked[-1]
    medians: Floats
    if len(places) == 2:
        medians = np.where(rows <= low, high, low)
    else:
        middle = ranked[1]
        inner = np.where(rows > middle, low + middle, low + high)
        medians = np.where(rows < middle, middle + high, inner) / 2
    return medians


def _quotients(dots: Floats, scales: Floats) -> Floats:
    """Return ``dots / scales`` within -1 and 1, and 0 where a scale is 0."""
    quotients = np.divide(dots, scales, out=np.zeros_like(dots), where=scales > 0)
    return np.clip(quotients, -1.0, 1.0, out=quotients)
