"""An update on its way to the orchestrator, compressed: what changed in the model, and what was lost before.

What is compressed are differences to the model that the client was given, and what compression takes away from them is
not lost: the client adds it to its next update (error feedback: Seide et al. 2014, "1-Bit Stochastic Gradient Descent",
Interspeech; Stich, Cordonnier, Jaggi 2018, "Sparsified SGD with Memory", https://arxiv.org/abs/1809.07599; Karimireddy,
Rebjock, Stich, Jaggi 2019, "Error Feedback Fixes SignSGD", https://arxiv.org/abs/1901.09847, Algorithm 2). With x̂ the
model that the client was given, y what it trained to, e what was lost so far, C the compressor, x the orchestrator's
own model:

    p = y - x̂ + e       C(p) is sent       e <- p - C(p)        (client)
    x + C(p) is the update that is checked, judged and aggregated                (orchestrator)

So a rounding of x on its way out doesn't add up over rounds. Compressed are arrays of floats that are trained. Beside
them travel, as they are or compressed like a model, arrays of integers and booleans, buffers (a running variance that
is off by a mean change may be negative), and the sets of arrays that the algorithm sends.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from compressors.compressor import Compressor
from compressors.models import with_prefix, without_prefix
from tasks.arrays import Array, Arrays, ArraySpec, Spec, spec_of
from tasks.errors import ArraysError
from tasks.sets import MARK

DELTA, BESIDE = "delta:", "beside:"
_FLOATS = ("F16", "F32", "F64")


@dataclass(frozen=True, slots=True)
class PackedUpdate:
    """An update as it is sent.

    Attributes:
        arrays: What is sent.
        lost: What that loses of what changed: float32, the names and shapes of what is compressed as a difference.
        beside: What arrives of all else, the sets that go with the update among it.
    """

    arrays: Arrays
    lost: Arrays
    beside: Arrays


def pack_update(
    compressor: Compressor, start: Arrays, update: Arrays, buffers: Collection[str] = (), lost: Arrays | None = None
) -> PackedUpdate:
    """Compress an update.

    Args:
        compressor: How.
        start: The model that was trained from, as the client had it.
        update: What was trained, and the sets of arrays that go with it (:mod:`tasks.sets`).
        buffers: Names of the model's arrays that aren't trained.
        lost: What was lost of this client's updates so far; None for nothing.

    Raises:
        ArraysError: If ``update`` or ``lost`` have other names or shapes than ``start``.
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
    """Return what a packed update of this spec, the model's with what goes with it, has to be; sorted by name."""
    delta, beside = _parts(spec, buffers)
    coded = compressor.spec(beside) if compressor.also_models else beside
    packed = {DELTA + name: entry for name, entry in compressor.spec(delta).items()}
    packed |= {BESIDE + name: entry for name, entry in coded.items()}
    return dict(sorted(packed.items()))


def unpack_update(
    compressor: Compressor, packed: Arrays, model: Arrays, spec: Spec, buffers: Collection[str] = ()
) -> Iterator[tuple[str, Array]]:
    """Yield each array of an update, in the order of ``spec``, with its name: the model's and what was sent added.

    Args:
        compressor: How it was compressed.
        packed: What was sent: its spec has been checked to be :func:`packed_spec`'s, its values have not.
        model: The orchestrator's own model.
        spec: Its spec, with those of the sets that go with updates; sorted by name.
        buffers: Names of the model's arrays that aren't trained.

    Raises:
        ArraysError: If nothing can be made of the values.
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
    for name, _ in (*deltas, *beside):  # a compressor may find only at the end that something is wrong
        raise ArraysError(f"array {name!r} came back, and there is none")


def _parts(spec: Spec, buffers: Collection[str]) -> tuple[Spec, Spec]:
    """Return the specs of the differences and of what travels beside them; each in the order of ``spec``."""
    names = _compressed(spec, buffers)
    delta = {name: ArraySpec("F32", spec[name].shape) for name in spec if name in names}
    return delta, {name: entry for name, entry in spec.items() if name not in names}


def _compressed(spec: Spec, buffers: Collection[str]) -> set[str]:
    return {
        name
        for name, entry in spec.items()
        if entry.dtype in _FLOATS and name not in buffers and not name.startswith(MARK)
    }


def _difference(name: str, update: Arrays, start: Arrays, lost: Arrays | None) -> Array:
    """Return what changed in an array, and what was lost of it, taken in float64 and rounded once to float32."""
    if name not in update or update[name].shape != start[name].shape:
        raise ArraysError(f"array {name!r} of the model isn't in the update, or has another shape there")
    # Whatever became of the numbers, the orchestrator is to judge them.
    with np.errstate(over="ignore", invalid="ignore"):
        difference = np.subtract(update[name], start[name], dtype=np.float64)
        if lost is not None:
            difference += lost[name]
        return np.asarray(difference.astype(np.float32))


def _add(model: Array, delta: Array) -> Array:
    """Return model and delta added in float64 and rounded once to the model's dtype."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.add(model, delta, dtype=np.float64).astype(model.dtype))
