"""Sets of arrays that travel or are kept beside a model's parameters: control variates, moments, gradients.

In one mapping with the parameters, array ``weight`` of the set ``c`` is named ``@c/weight``; no parameter's name may
begin with ``@``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tasks.arrays import Array, Arrays, ArraySpec, Spec
from tasks.errors import ArraysError

MARK = "@"
_FLOATS = ("F16", "F32", "F64")

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
        if not name.startswith(MARK):
            parameters[name] = values
            continue
        kind, _, rest = name.removeprefix(MARK).partition("/")
        sets.setdefault(kind, {})[rest] = values
    return parameters, sets


def spec_with(spec: Spec, kinds: Iterable[str]) -> Spec:
    """Return the spec of a model's parameters together with these sets, each of which has all arrays of floats."""
    return {**spec, **spec_of_sets(spec, kinds)}


def spec_of_sets(spec: Spec, kinds: Iterable[str]) -> dict[str, ArraySpec]:
    """Return the spec of these sets alone, each of which has all arrays of floats of the model with this spec."""
    floats = {name: entry for name, entry in spec.items() if entry.dtype in _FLOATS}
    return {f"{MARK}{kind}/{name}": floats[name] for kind in kinds for name in floats}


def check_names(names: Iterable[str]) -> None:
    """Check that parameters' names can stand beside those of sets.

    Raises:
        ArraysError: If one begins with ``@``.
    """
    for name in names:
        if name.startswith(MARK):
            raise ArraysError(f"a parameter can't be named {name!r}: names with {MARK!r} in front are kept for sets")
