"""Compressors, a file each: pure functions that shrink models and updates for transport."""

from __future__ import annotations

from celeriac.compressors.arraywise import Arraywise
from celeriac.compressors.compressor import Compressor
from celeriac.compressors.parameters import no_parameter
from tasks.errors import LoadError
from tasks.plugins import load_factory

COMPRESSORS = {
    "bf16": "celeriac.compressors.bf16:bf16",
    "int8": "celeriac.compressors.int8:int8",
    "topk": "celeriac.compressors.topk:topk",
}
"""Names for ``--compression``, and where each is defined: a function from the text after the colon to a compressor."""

NONE = "none"
"""Value of ``--compression`` for no compression."""

__all__ = ["COMPRESSORS", "NONE", "Arraywise", "Compressor", "load_compressor", "split_spec"]


def load_compressor(spec: str) -> Compressor | None:
    """Return a compressor by ``NAME[:PARAMETER]`` or ``module:name[:PARAMETER]``; None for ``none``.

    Raises:
        UnknownNameError: If there is no such name.
        LoadError: If it can't be imported, isn't annotated to return a compressor, or returns something else.
        ConfigurationError: If its parameter is wrong.
    """
    name, parameter = split_spec(spec)
    if name == NONE:
        no_parameter(NONE, parameter)
        return None
    make = load_factory("compression", name, {**COMPRESSORS, NONE: NONE}, "Compressor", _is_compressor)
    found = make(parameter)
    if not isinstance(found, Compressor):
        raise LoadError(f"compression {spec!r} returned {type(found).__name__}, not a compressors.Compressor")
    return found


def _is_compressor(returned: object) -> bool:
    return isinstance(returned, type) and issubclass(returned, Compressor)


def split_spec(spec: str) -> tuple[str, str]:
    """Split a spec into its built-in name or ``module:name``, and its parameter, which may be empty."""
    name, _, parameter = spec.partition(":")
    if name in COMPRESSORS or name == NONE:
        return name, parameter
    own, _, own_parameter = parameter.partition(":")
    return (f"{name}:{own}", own_parameter) if own else (name, "")
