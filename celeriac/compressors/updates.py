"""Compressing an update for the orchestrator, with error feedback.

The client compresses the difference to the model that it was given, plus the residual: what compression took away from
its earlier updates (error feedback: Seide et al. 2014, "1-Bit Stochastic Gradient Descent", Interspeech; Stich,
Cordonnier, Jaggi 2018, "Sparsified SGD with Memory", https://arxiv.org/abs/1809.07599; Karimireddy, Rebjock, Stich,
Jaggi 2019, "Error Feedback Fixes SignSGD", https://arxiv.org/abs/1901.09847, Algorithm 2). With x̂ the model that the
client was given, y the model that it trained, e its residual, C the compressor, x the orchestrator's own model:

    p = y - x̂ + e       C(p) is sent       e <- p - C(p)        (client)
    x + C(p) is the update that is checked, judged and aggregated                (orchestrator)

So the rounding of x to x̂ doesn't add up over rounds. Only trained arrays of floats are sent as differences. All others
travel beside them, as they are or compressed like a model: integers, booleans, buffers (a difference that is slightly
off could make a running variance negative), and the sets of arrays that the algorithm sends.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from celeriac.compressors import Compressor
from celeriac.compressors.models import with_prefix, without_prefix
from tasks.arrays import Array, Arrays, ArraySpec, Spec, spec_of
from tasks.auxiliary import MARK
from tasks.errors import ArraysError

DELTA, BESIDE = "delta:", "beside:"


@dataclass(frozen=True, slots=True)
class PackedUpdate:
    """A compressed update.

    Attributes:
        arrays: The arrays to send.
        lost: The residual, p - C(p): float32, with the names and shapes of the arrays sent as differences.
        beside: All other arrays, sets included, as the orchestrator will decompress them.
    """

    arrays: Arrays
    lost: Arrays
    beside: Arrays


def pack_update(
    compressor: Compressor, start: Arrays, update: Arrays, buffers: Collection[str] = (), lost: Arrays | None = None
) -> PackedUpdate:
    """Compress an update.

    Args:
        compressor: The compressor.
        start: The model that the client started from, as it was given.
        update: The trained model, and the sets of arrays that go with it (:mod:`tasks.auxiliary`).
        buffers: Names of the model's arrays that aren't trained.
        lost: This client's residual; None for zeros. It is dropped of an array that has had another shape since, as a
            model's that grows.

    Raises:
        ArraysError: If ``update`` has other names or shapes than ``start``.
    """
    names = _compressed(spec_of(start), buffers)
    owed = {name: _difference(name, update, start, lost) for name in names}
    coded = compressor.compress(owed)
    for name, sent in compressor.decompress(coded, spec_of(owed)):
        with np.errstate(invalid="ignore"):
            owed[name] = owed[name] - sent  # into new memory: a compressor may send an array itself
    beside = {name: values for name, values in update.items() if name not in names}
    packed = compressor.compress(beside) if compressor.also_models else beside
    arrives = dict(compressor.decompress(packed, spec_of(beside))) if compressor.also_models else beside
    return PackedUpdate({**with_prefix(DELTA, coded), **with_prefix(BESIDE, packed)}, owed, arrives)


def packed_spec(compressor: Compressor, spec: Spec, buffers: Collection[str] = ()) -> Spec:
    """Return the spec of a packed update, from the spec of the model and the sets that go with it; sorted by name."""
    delta, beside = _parts(spec, buffers)
    coded = compressor.spec(beside) if compressor.also_models else beside
    packed = {DELTA + name: entry for name, entry in compressor.spec(delta).items()}
    packed |= {BESIDE + name: entry for name, entry in coded.items()}
    return dict(sorted(packed.items()))


def unpack_update(
    compressor: Compressor, packed: Arrays, model: Arrays, spec: Spec, buffers: Collection[str] = ()
) -> Iterator[tuple[str, Array]]:
    """Yield the name and values of each array of an update, differences added to the model, in the order of ``spec``.

    Args:
        compressor: The compressor that packed the update.
        packed: The packed update: its spec has been checked against :func:`packed_spec`, its values have not.
        model: The orchestrator's own model.
        spec: The spec of the model and of the sets that go with updates; sorted by name.
        buffers: Names of the model's arrays that aren't trained.

    Raises:
        ArraysError: If the values can't be decompressed.
    """
    delta_spec, beside_spec = _parts(spec, buffers)
    deltas = compressor.decompress(without_prefix(DELTA, packed), delta_spec)
    others = without_prefix(BESIDE, packed)
    beside = compressor.decompress(others, beside_spec) if compressor.also_models else iter(sorted(others.items()))
    for name in spec:
        found, values = next(deltas if name in delta_spec else beside, ("nothing", None))
        if found != name or values is None:
            raise ArraysError(f"array {name!r} was compressed, and {found} came back")
        yield name, _add(model[name], values) if name in delta_spec else values
    for name, _ in (*deltas, *beside):  # a compressor may detect an error only at its end
        raise ArraysError(f"array {name!r} came back, and there is none")


def _parts(spec: Spec, buffers: Collection[str]) -> tuple[Spec, Spec]:
    """Return the specs of the differences and of all other arrays, each in the order of ``spec``."""
    names = _compressed(spec, buffers)
    delta = {name: ArraySpec("F32", spec[name].shape) for name in spec if name in names}
    return delta, {name: entry for name, entry in spec.items() if name not in names}


def _compressed(spec: Spec, buffers: Collection[str]) -> set[str]:
    return {
        name for name, entry in spec.items() if entry.is_float and name not in buffers and not name.startswith(MARK)
    }


def _difference(name: str, update: Arrays, start: Arrays, lost: Arrays | None) -> Array:
    """Return an array's change plus its residual, taken in float64 and rounded once to float32."""
    if name not in update or update[name].shape != start[name].shape:
        raise ArraysError(f"array {name!r} of the model isn't in the update, or has another shape there")
    # NaN and infinities are sent: the orchestrator judges them.
    with np.errstate(over="ignore", invalid="ignore"):
        difference = np.subtract(update[name], start[name], dtype=np.float64)
        if lost is not None and name in lost and lost[name].shape == difference.shape:
            difference += lost[name]
        return np.asarray(difference.astype(np.float32))


def _add(model: Array, delta: Array) -> Array:
    """Return model and delta added in float64 and rounded once to the model's dtype."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.add(model, delta, dtype=np.float64).astype(model.dtype))
