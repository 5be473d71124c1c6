"""A model on its way to the clients, compressed: arrays whose spec the reader doesn't know.

What array ``weight`` became is named ``coded:`` and what the compressor calls it. Beside it lies ``like:weight``, which
has no elements, and so no bytes, but the dtype and, behind a first size of 0, the shape of the original.
"""

from __future__ import annotations

import numpy as np

from compressors.compressor import Compressor
from tasks.arrays import Array, Arrays, ArraySpec, spec_of
from tasks.errors import ArraysError

CODED, LIKE = "coded:", "like:"


def pack_model(compressor: Compressor | None, model: Arrays) -> Arrays:
    """Return what goes out: the model as it is, where nothing compresses models."""
    if compressor is None or not compressor.also_models:
        return model
    like = {LIKE + name: np.empty((0, *values.shape), values.dtype) for name, values in model.items()}
    return {**like, **with_prefix(CODED, compressor.compress(model))}


def unpack_model(compressor: Compressor | None, packed: Arrays) -> Arrays:
    """Return the model that :func:`pack_model` packed, as exact as it still is; read-only.

    Raises:
        ArraysError: If it wasn't packed so.
    """
    if compressor is None or not compressor.also_models:
        return packed
    like, coded = without_prefix(LIKE, packed), without_prefix(CODED, packed)
    spec = {name: ArraySpec(entry.dtype, entry.shape[1:]) for name, entry in spec_of(like).items()}
    if len(like) + len(coded) != len(packed) or spec_of(coded) != compressor.spec(spec):
        raise ArraysError("the model isn't packed by the compression that the order names")
    model = dict(compressor.decompress(coded, spec))
    for values in model.values():
        values.flags.writeable = False
    return model


def with_prefix(prefix: str, arrays: Arrays) -> dict[str, Array]:
    """Return the arrays with ``prefix`` before their names."""
    return {prefix + name: values for name, values in arrays.items()}


def without_prefix(prefix: str, arrays: Arrays) -> dict[str, Array]:
    """Return those arrays whose names have ``prefix``, without it."""
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
