"""Compressors, a file each: pure functions that shrink models and updates for transport, and back.

All methods change none of their arrays: no clock, no disk, no network, no randomness.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from tasks.arrays import Array, Arrays, Spec
from tasks.errors import ConfigurationError, LoadError
from tasks.plugins import load_factory, split_spec

COMPRESSORS = {
    "bf16": "celeriac.compressors.bf16:Bf16",
    "int8": "celeriac.compressors.int8:Int8",
    "topk": "celeriac.compressors.topk:topk",
}
"""Names for ``--compression``, and where each is defined: a function from the text after the colon to a compressor."""

NONE = "none"
"""Value of ``--compression`` for no compression."""

NAMES = {**COMPRESSORS, NONE: NONE}
"""Everything that ``--compression`` knows by name."""


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


def load_compressor(spec: str) -> Compressor | None:
    """Return a compressor by ``NAME[:PARAMETER]`` or ``module:name[:PARAMETER]``; None for ``none``.

    Raises:
        UnknownNameError: If there is no such name.
        LoadError: If it can't be imported, isn't annotated to return a compressor, or returns something else.
        ConfigurationError: If its parameter is wrong.
    """
    name, parameter = split_spec(spec, NAMES)
    if name == NONE:
        no_parameter(NONE, parameter)
        return None
    make = load_factory("compression", name, NAMES, "Compressor", _is_compressor)
    found = make(parameter)
    if not isinstance(found, Compressor):
        raise LoadError(f"compression {spec!r} returned {type(found).__name__}, not a compressors.Compressor")
    return found


def _is_compressor(returned: object) -> bool:
    return isinstance(returned, type) and issubclass(returned, Compressor)


def no_parameter(name: str, parameter: str) -> None:
    """Refuse a parameter for a compression that has none.

    Raises:
        ConfigurationError: If there is one.
    """
    if parameter:
        raise ConfigurationError(f"compression '{name}:{parameter}': {name} has no parameter, write {name}")
