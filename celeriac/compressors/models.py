"""Compressing a model for its clients, who don't know its spec beforehand.

A compressed array is named ``coded:`` plus the compressor's name for it. Beside it, ``like:weight`` gives the dtype and
shape of the original array ``weight``: it has that dtype and shape behind a first dimension of 0, so no bytes.
"""

from __future__ import annotations

import numpy as np

from celeriac.compressors import Compressor
from tasks.arrays import Array, Arrays, ArraySpec, spec_of
from tasks.errors import ArraysError

CODED, LIKE = "coded:", "like:"


def pack_model(compressor: Compressor | None, model: Arrays) -> Arrays:
    """Return the model compressed, or as it is without a compressor for models."""
    if compressor is None or not compressor.also_models:
        return model
    like = {LIKE + name: np.empty((0, *values.shape), values.dtype) for name, values in model.items()}
    return {**like, **with_prefix(CODED, compressor.compress(model))}


def unpack_model(compressor: Compressor | None, packed: Arrays) -> Arrays:
    """Return the model that :func:`pack_model` packed, less what compression loses; read-only.

    Raises:
        ArraysError: If it wasn't packed by this compressor.
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
    """Return the arrays whose names begin with ``prefix``, named without it."""
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
