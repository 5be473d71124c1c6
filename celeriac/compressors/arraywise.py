"""Compressors that encode each array of floats by itself; arrays that would not shrink stay as they are."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from celeriac.compressors import Compressor
from tasks.arrays import Array, Arrays, ArraySpec, Spec, spec_of

KEPT = "kept"


class Arraywise(Compressor):
    """Base of compressors that work array by array.

    Part ``values`` of array ``weight`` is named ``values:weight``; an array that stays as it is, ``kept:weight``.
    """

    dtypes: ClassVar[tuple[str, ...]]
    """Safetensors codes of the dtypes that are compressed."""

    @abstractmethod
    def parts(self, original: ArraySpec) -> Spec:
        """Return the spec of each part that an array is encoded to, by part; parts' names have no colon."""

    @abstractmethod
    def encode(self, values: Array) -> dict[str, Array]:
        """Return an array's parts; ``values`` is of one of ``dtypes``, of any shape."""

    @abstractmethod
    def decode(self, parts: Arrays, original: ArraySpec) -> Array:
        """Return the decoded array, in a float dtype, from ``parts`` with any values."""

    def spec(self, original: Spec) -> Spec:
        """Return the spec of all parts of all arrays."""
        return {
            f"{part}:{name}": entry
            for name, array in original.items()
            for part, entry in (self._parts(array) or {KEPT: array}).items()
        }

    def compress(self, arrays: Arrays) -> dict[str, Array]:
        """Return all parts of all arrays."""
        return {
            f"{part}:{name}": values
            for name, entry in spec_of(arrays).items()
            for part, values in (self.encode(arrays[name]) if self._parts(entry) else {KEPT: arrays[name]}).items()
        }

    def decompress(self, compressed: Arrays, original: Spec) -> Iterator[tuple[str, Array]]:
        """Yield the arrays; any values are accepted."""
        for name, entry in original.items():
            parts = {part: compressed[f"{part}:{name}"] for part in self._parts(entry) or {KEPT: entry}}
            if KEPT in parts:
                yield name, parts[KEPT]
                continue
            # A client's values may be NaN, infinite, or too large for the dtype.
            with np.errstate(all="ignore"):
                values = self.decode(parts, entry)
                yield name, values.reshape(entry.shape).astype(entry.numpy_dtype, copy=False)

    def _parts(self, entry: ArraySpec) -> Spec:
        """Return the spec of an array's parts; empty if the array stays as it is."""
        if entry.dtype not in self.dtypes:
            return {}
        parts = self.parts(entry)
        return parts if sum(part.size_bytes for part in parts.values()) < entry.size_bytes else {}
