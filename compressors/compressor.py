"""What a compressor is: named arrays to fewer bytes of named arrays, and back.

All of it is pure functions over arrays that they don't change: no clock, no disk, no network, no chance.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from tasks.arrays import Array, Arrays, Spec


class Compressor(ABC):
    """Base of every compressor."""

    also_models: ClassVar[bool] = True
    """Whether models can be compressed too, and what algorithms send; False for one that is for differences alone."""

    @abstractmethod
    def spec(self, original: Spec) -> Spec:
        """Return the names, dtypes and shapes of what arrays of this spec become; their values don't matter.

        What a client sends is held against it, so it also bounds how much that can be.
        """

    @abstractmethod
    def compress(self, arrays: Arrays) -> dict[str, Array]:
        """Return arrays of the spec that :meth:`spec` says; equal arrays give equal ones.

        Args:
            arrays: Any names, dtypes and shapes. Where an update is compressed all of them are float32: what changed.
                NaN and infinities may become what decompresses to NaN or infinities; they needn't be kept apart.
        """

    @abstractmethod
    def decompress(self, compressed: Arrays, original: Spec) -> Iterator[tuple[str, Array]]:
        """Yield each array of ``original``, in its order, with its name: of its dtype and shape.

        Args:
            compressed: Arrays of the spec that :meth:`spec` says, from whoever sent them, with any values.
            original: The spec of what was compressed.

        Raises:
            ArraysError: If the values can't have come from :meth:`compress`.
        """
