"""The interface of a compressor: named arrays to smaller named arrays, and back.

All methods are pure and change none of their arrays: no clock, no disk, no network, no randomness.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from tasks.arrays import Array, Arrays, Spec


class Compressor(ABC):
    """Base of every compressor."""

    also_models: ClassVar[bool] = True
    """Whether it also compresses models and algorithms' sets; False for a compressor of differences alone."""

    @abstractmethod
    def spec(self, original: Spec) -> Spec:
        """Return the spec of the compressed arrays, which depends on ``original`` alone, not on values.

        What a client sends is checked against it, so it also bounds the size.
        """

    @abstractmethod
    def compress(self, arrays: Arrays) -> dict[str, Array]:
        """Return compressed arrays, of the spec that :meth:`spec` gives; equal arrays give equal results.

        Args:
            arrays: Any names, dtypes and shapes. For an update they are float32 differences. A NaN or an infinity must
                decompress to a NaN or an infinity, but one may become the other.
        """

    @abstractmethod
    def decompress(self, compressed: Arrays, original: Spec) -> Iterator[tuple[str, Array]]:
        """Yield the name and values of each array of ``original``, in its order, with its dtype and shape.

        Args:
            compressed: Arrays of the spec that :meth:`spec` gives, with any values: their sender isn't trusted.
            original: The spec of the arrays before compression.

        Raises:
            ArraysError: If the values can't have come from :meth:`compress`.
        """
