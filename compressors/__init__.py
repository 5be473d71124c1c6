"""Compressors, a file each: how models and updates become fewer bytes on their way; pure."""

from __future__ import annotations

from compressors.arraywise import Arraywise
from compressors.compressor import Compressor
from compressors.parameters import no_parameter
from tasks.errors import LoadError
from tasks.loading import load_factory

COMPRESSORS = {
    "bf16": "compressors.bf16:bf16",
    "int8": "compressors.int8:int8",
    "topk": "compressors.topk:topk",
}
"""Names at ``--compression``, and where each is: a function of the text after the name's colon that returns one."""

NONE = "none"
"""What ``--compression`` says for none."""

__all__ = ["COMPRESSORS", "NONE", "Arraywise", "Compressor", "load_compressor", "split_spec"]


def load_compressor(spec: str) -> Compressor | None:
    """Return a compressor by ``NAME[:PARAMETER]`` or ``module:name[:PARAMETER]``; None for ``none``.

    Raises:
        UnknownNameError: If there is no such name.
        LoadError: If it can't be imported, doesn't say that it returns a compressor, or returns something else.
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
    """Return a built-in name or ``module:name``, and the parameter, which may be empty."""
    name, _, parameter = spec.partition(":")
    if name in COMPRESSORS or name == NONE:
        return name, parameter
    own, _, own_parameter = parameter.partition(":")
    return (f"{name}:{own}", own_parameter) if own else (name, "")
