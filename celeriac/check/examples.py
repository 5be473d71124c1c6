"""Whether two lots of examples, in whatever form a workload has them, are the same."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from typing import Any

import numpy as np

from tasks.digests import Digest

_PLAIN = (type(None), bool, int, float, complex, str, bytes, np.generic)
_MOST_NESTED = 12


class UnknownFormError(Exception):
    """Raised when examples have something in them that can't be compared."""


def same(first: Any, second: Any) -> bool | None:
    """Say whether two are the same, by what they hold; None where that can't be said."""
    try:
        return _digest(first) == _digest(second)
    except UnknownFormError:
        return None


def _digest(value: Any) -> str:
    digest = Digest()
    _take(digest, value, _MOST_NESTED)
    return str(digest.hexdigest())


def _take(digest: Any, value: Any, left: int) -> None:
    """Have a digest take in a value: arrays and tensors, containers, objects by their attributes."""
    if hasattr(value, "detach") and hasattr(value, "numpy"):
        value = value.detach().cpu().numpy()
    digest.update(f"{type(value).__qualname__}:".encode())
    if isinstance(value, np.ndarray) and value.dtype != object:
        digest.update(f"{value.dtype.str} {value.shape}".encode())
        digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    elif isinstance(value, _PLAIN):
        digest.update(f"{value!r};".encode())
    elif isinstance(value, types.FunctionType | type) and "<" not in value.__qualname__:
        digest.update(f"{value.__module__}.{value.__qualname__};".encode())
    else:
        parts = _parts(value)
        if parts is None or not left:
            raise UnknownFormError
        digest.update(f"{len(parts)} parts;".encode())
        for part in parts:
            _take(digest, part, left - 1)


def _parts(value: Any) -> list[Any] | None:
    """Return what a value is made of; None if that isn't known."""
    if isinstance(value, Mapping):
        return [part for pair in value.items() for part in pair]
    if isinstance(value, list | tuple | range | np.ndarray):
        return list(value)
    if dataclasses.is_dataclass(value):
        return [getattr(value, each.name) for each in dataclasses.fields(value)]
    return [part for pair in vars(value).items() for part in pair] if hasattr(value, "__dict__") else None
