"""Inputs that are nearly right: what a sender would send, with something in it cut, changed, repeated or made up."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Draw = st.DrawFn

_SIZES = (0, 1, 2, 7, 8, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
_NUMBERS: tuple[object, ...] = (*_SIZES, -1, -(2**63), 2**64, 10**30, 10**4000, 0.5, -0.5, 1e-320, 1e16, 1e308, -1e308)
_TEXTS = (
    "",
    " ",
    "\0",
    "\x1b[2J",
    "\ud800",
    "é",
    "\u202e",
    "..",
    "../x",
    "a/b",
    "a:b",
    "a,b",
    "@a/b",
    "1",
    "nan",
    "*",
)
_ATOMS: tuple[object, ...] = (None, True, False, *_NUMBERS, *_TEXTS, "x" * 5_000, [], {}, [[]], {"": {}})


def deep(depth: int, *, opens: str = "[", closes: str = "]") -> str:
    """Return lists in lists, as JSON or TOML."""
    return opens * depth + closes * depth


@st.composite
def mutated(draw: Draw, valid: st.SearchStrategy[bytes]) -> bytes:
    """Bytes with up to four changes: cut, changed, inserted, removed, repeated, or a number in place of others."""
    data = bytearray(draw(valid))
    for _ in range(draw(st.integers(0, 4))):
        _MUTATIONS[draw(st.sampled_from(sorted(_MUTATIONS)))](draw, data)
    return bytes(data)


def _place(draw: Draw, data: bytearray) -> int:
    """A place in the bytes, as often as not one of the first: there the header is."""
    last = min(len(data), 64) if draw(st.booleans()) else len(data)
    return int(draw(st.integers(0, last)))


def _cut(draw: Draw, data: bytearray) -> None:
    del data[_place(draw, data) :]


def _change(draw: Draw, data: bytearray) -> None:
    place = _place(draw, data)
    data[place : place + 1] = draw(st.binary(min_size=1, max_size=1))


def _insert(draw: Draw, data: bytearray) -> None:
    place = _place(draw, data)
    data[place:place] = draw(st.binary(min_size=1, max_size=9))


def _remove(draw: Draw, data: bytearray) -> None:
    place = _place(draw, data)
    del data[place : place + draw(st.integers(1, 16))]


def _repeat(draw: Draw, data: bytearray) -> None:
    place = _place(draw, data)
    data[place:place] = data[place : place + draw(st.integers(1, 64))] * draw(st.sampled_from((1, 2, 100)))


def _number(draw: Draw, data: bytearray) -> None:
    place, width = _place(draw, data), draw(st.sampled_from((1, 2, 4, 8)))
    number = draw(st.sampled_from(_SIZES)) % 2 ** (8 * width)
    data[place : place + width] = number.to_bytes(width, draw(st.sampled_from(("big", "little"))))


_MUTATIONS: dict[str, Callable[[Draw, bytearray], None]] = {
    "change": _change,
    "cut": _cut,
    "insert": _insert,
    "number": _number,
    "remove": _remove,
    "repeat": _repeat,
}


def values() -> st.SearchStrategy[Any]:
    """Anything that JSON can hold, mostly what is at some limit."""
    names = st.text(st.characters(), max_size=5)
    atoms = st.sampled_from(_ATOMS) | st.integers() | st.floats() | names
    return atoms | st.lists(atoms, max_size=3) | st.dictionaries(names, atoms, max_size=3)


@st.composite
def mutated_document(draw: Draw, valid: st.SearchStrategy[Any]) -> Any:
    """A document, of what JSON can hold, with up to three changes somewhere in it."""
    holder = [json.loads(json.dumps(draw(valid)))]
    for _ in range(draw(st.integers(0, 3))):
        inside, key = _somewhere(draw, holder)
        what = draw(st.sampled_from(("replace", "replace", "remove", "rename", "nest")))
        if what == "replace" or inside is holder:
            inside[key] = copy.deepcopy(draw(values()))  # it may be changed in turn
        elif what == "nest":
            inside[key] = [inside[key]] if draw(st.booleans()) else {"x": inside[key]}
        elif what == "remove" or isinstance(inside, list):
            del inside[key]
        else:
            inside[draw(st.sampled_from(_TEXTS) | st.text(st.characters(), max_size=9))] = inside.pop(key)
    return holder[0]


def _somewhere(draw: Draw, holder: Any) -> tuple[Any, Any]:
    """A list or an object, and where in it something is."""
    inside, key = holder, 0
    while isinstance(inside[key], list | dict) and inside[key] and draw(st.integers(0, 3)):
        inside = inside[key]
        key = draw(st.sampled_from(sorted(inside) if isinstance(inside, dict) else range(len(inside))))
    return inside, key


def as_json(document: object) -> bytes:
    """Return a document as JSON, with what Python's own takes beside the standard: NaN, and half of a character."""
    return json.dumps(document).encode()


def mutated_json(valid: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """JSON of a document that was changed, as text that was changed, or that is nested a thousand times."""
    nested = st.integers(1, 3_000).map(lambda depth: deep(depth).encode())
    return (
        mutated_document(valid).map(as_json)
        | mutated(valid.map(as_json))
        | st.tuples(valid.map(as_json), nested).map(lambda parts: parts[0].replace(b": ", b": " + parts[1] + b", ", 1))
        | st.tuples(valid, nested).map(_with_nested)
    )


def _with_nested(parts: tuple[Any, bytes]) -> bytes:
    """Return a document with something deep in place of its last value."""
    document, nested = parts
    if not isinstance(document, dict) or not document:
        return nested
    return as_json({**document, sorted(document)[-1]: "@"}).replace(b'"@"', nested)
