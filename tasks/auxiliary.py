"""Sets of arrays that travel or are kept beside a model's parameters: control variates, moments, gradients.

In one mapping with the parameters, array ``weight`` of the set ``c`` is named ``@c/weight``; no parameter's name may
begin with ``@``. Sets are of float32 at least: float16 and bfloat16 are too coarse for sums over rounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tasks.arrays import BFLOAT16, Array, Arrays, ArraySpec, Spec
from tasks.errors import ArraysError

MARK = "@"

Sets = Mapping[str, Arrays]


def join(parameters: Arrays, sets: Sets) -> dict[str, Array]:
    """Return parameters and sets as one mapping.

    Raises:
        ArraysError: If a parameter's name begins with ``@``.
    """
    check_names(parameters)
    beside = {f"{MARK}{kind}/{name}": values for kind, arrays in sets.items() for name, values in arrays.items()}
    return {**parameters, **beside}


def split(arrays: Arrays) -> tuple[dict[str, Array], dict[str, dict[str, Array]]]:
    """Return the parameters, and the sets that came with them."""
    parameters: dict[str, Array] = {}
    sets: dict[str, dict[str, Array]] = {}
    for name, values in arrays.items():
        kind, own_name = parts_of(name)
        (sets.setdefault(kind, {}) if kind else parameters)[own_name] = values
    return parameters, sets


def parts_of(name: str) -> tuple[str, str]:
    """Return the set of an array, empty for one of the parameters, and the name of the parameter that it belongs to."""
    if not name.startswith(MARK):
        return "", name
    kind, _, own_name = name.removeprefix(MARK).partition("/")
    return kind, own_name


def kept_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype in which a set has an array that is of this one in the model."""
    return np.dtype(np.float32) if dtype in (np.float16, BFLOAT16) else dtype


def widened(sets: Sets) -> dict[str, dict[str, Array]]:
    """Return the sets with arrays of float32 at least."""
    return {
        kind: {name: values.astype(kept_dtype(values.dtype), copy=False) for name, values in arrays.items()}
        for kind, arrays in sets.items()
    }


def spec_of_sets(spec: Spec, kinds: Iterable[str]) -> dict[str, ArraySpec]:
    """Return the spec of these sets alone, each of which has all arrays of floats of the model with this spec."""
    floats = {
        name: ArraySpec("F32", entry.shape) if kept_dtype(entry.numpy_dtype) != entry.numpy_dtype else entry
        for name, entry in spec.items()
        if entry.is_float
    }
    return {f"{MARK}{kind}/{name}": floats[name] for kind in kinds for name in floats}


def check_names(names: Iterable[str]) -> None:
    """Check that parameters' names can stand beside those of sets.

    Raises:
        ArraysError: If one begins with ``@``.
    """
    for name in names:
        if name.startswith(MARK):
            raise ArraysError(f"a parameter can't be named {name!r}: names with {MARK!r} in front are kept for sets")
