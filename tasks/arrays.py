"""Named arrays and their bytes, in safetensors layout.

Layout (https://huggingface.co/docs/safetensors): an unsigned 64-bit little-endian header length, a JSON header
``{name: {"dtype", "shape", "data_offsets": [begin, end]}}``, then the arrays' bytes without gaps. Names are sorted,
so equal arrays are equal bytes. Decoding makes views and copies nothing; nothing is ever unpickled.
"""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ml_dtypes import bfloat16

from tasks.described import first_of
from tasks.digests import Digest
from tasks.errors import ArraysError
from tasks.files import replacing, to_disk

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]
"""Named arrays: a model's parameters, or what changed in them."""

BFLOAT16: np.dtype[Any] = np.dtype(bfloat16)
"""The dtype that NumPy itself lacks; its ``kind`` isn't ``f``, so ask :func:`is_float`."""
MAX_HEADER_BYTES = 100_000_000
"""Bytes that a header may have where nothing is known of the arrays. Reading one takes up to 25 times its length."""
_SHORT_HEADER_BYTES = 2**16
"""How long a header may be of which it is remembered what it describes."""
_LENGTH_BYTES = 8
_ALIGNMENT = 8
_MAX_DIMENSIONS = 64
_METADATA = "__metadata__"

_CODES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": BFLOAT16,
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_NAMES = {dtype: code for code, dtype in _CODES.items()}


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """An array without its values: ``dtype`` is a safetensors code (``F32``), ``shape`` a tuple of sizes."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        """Return dtype and shape, like ``F32 (2, 6)``."""
        return f"{self.dtype} {self.shape}"

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The dtype as NumPy has it."""
        return _CODES[self.dtype]

    @property
    def is_float(self) -> bool:
        """Whether the values are floating-point numbers."""
        return is_float(self.numpy_dtype)

    @property
    def size_bytes(self) -> int:
        """Bytes that the array's values take."""
        return math.prod(self.shape) * self.numpy_dtype.itemsize


Spec = dict[str, ArraySpec]


def spec_of(arrays: Arrays) -> Spec:
    """Return names, dtypes and shapes of ``arrays``, sorted by name.

    Raises:
        ArraysError: If a dtype has no safetensors code, or a name is the format's own.
    """
    if _METADATA in arrays:
        raise ArraysError(f"an array can't be named {_METADATA!r}: the format keeps that name for itself")
    return {name: ArraySpec(_code(name, arrays[name].dtype), arrays[name].shape) for name in sorted(arrays)}


def difference(found: Spec, expected: Spec) -> str:
    """Say how arrays differ from a model's in names, shapes or dtypes; empty if they don't."""
    if found == expected:
        return ""
    missing, unknown = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    wrong = [name for name in expected if name in found and found[name] != expected[name]]
    said = [f"missing {first_of([*map(repr, missing)])}"] if missing else []
    said += [f"unknown {first_of([*map(repr, unknown)])}"] if unknown else []
    if said:
        return f"array names differ from the model's: {', '.join(said)}"
    said = [f"array {name!r} is {found[name]}, the model's is {expected[name]}" for name in wrong[:1]]
    return "".join(said) + (f"; so are {len(wrong) - 1} more" if wrong[1:] else "")


def _code(name: str, dtype: np.dtype[Any]) -> str:
    try:
        return _NAMES[dtype.newbyteorder("<")]
    except KeyError:
        raise ArraysError(f"array {name!r} has dtype {dtype}: allowed are {', '.join(_CODES)}") from None


def is_float(dtype: np.dtype[Any]) -> bool:
    """Say whether a dtype is one of floating-point numbers, bfloat16 included."""
    return dtype.kind == "f" or dtype == BFLOAT16


def encode(arrays: Arrays) -> Iterator[memoryview]:
    """Yield the bytes of ``arrays``: the header, then each array's own memory (a copy only if not contiguous).

    Raises:
        ArraysError: If a dtype has no safetensors code.
    """
    spec = spec_of(arrays)
    yield memoryview(encode_header(spec))
    for name, entry in spec.items():
        values = np.ascontiguousarray(arrays[name], dtype=_CODES[entry.dtype])
        yield values.reshape(-1).view(np.uint8).data


def encode_header(spec: Spec) -> bytes:
    """Return length and JSON header of arrays laid out in the order of ``spec``, padded with spaces to 8 bytes."""
    return _header(tuple(spec.items()))


@lru_cache(maxsize=16)
def _header(entries: tuple[tuple[str, ArraySpec], ...]) -> bytes:
    header: dict[str, dict[str, object]] = {}
    begin = 0
    for name, entry in entries:
        end = begin + entry.size_bytes
        header[name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text


def encoded_size(spec: Spec) -> int:
    """Bytes that arrays of this spec take when encoded by :func:`encode`."""
    return len(encode_header(spec)) + sum(entry.size_bytes for entry in spec.values())


def decode(
    data: bytes | bytearray | memoryview | mmap.mmap, max_header_bytes: int = MAX_HEADER_BYTES
) -> dict[str, Array]:
    """Return views into ``data``, by name; read-only if ``data`` is. A longer header than allowed isn't read.

    Raises:
        ArraysError: If ``data`` isn't well-formed: a length, an offset, a shape or a dtype is wrong.
    """
    view = memoryview(data)
    spec, start = decode_header(view, max_header_bytes)
    arrays = {}
    for name, entry in spec.items():
        end = start + entry.size_bytes
        arrays[name] = np.frombuffer(view[start:end], dtype=_CODES[entry.dtype]).reshape(entry.shape)
        start = end
    return arrays


def decode_header(view: memoryview, max_bytes: int = MAX_HEADER_BYTES) -> tuple[Spec, int]:
    """Return the spec in order of offsets, and where the first array's bytes begin.

    Args:
        view: The arrays' bytes.
        max_bytes: How long the header may be: a longer one isn't read.

    Raises:
        ArraysError: If the header isn't well-formed or doesn't describe exactly the bytes that follow it.
    """
    length = int.from_bytes(view[:_LENGTH_BYTES], "little")
    start = _LENGTH_BYTES + length
    if len(view) < _LENGTH_BYTES or start > len(view):
        raise ArraysError(f"{len(view)} bytes are too few for a header of {length} bytes")
    if length > max_bytes:
        raise ArraysError(f"the header has {length} bytes: {max_bytes} are allowed")
    spec, num_bytes = (_read_again if length <= _SHORT_HEADER_BYTES else _read)(bytes(view[_LENGTH_BYTES:start]))
    if start + num_bytes != len(view):
        raise ArraysError(f"the header describes {num_bytes} bytes of arrays, {len(view) - start} are there")
    return dict(spec), start


def _read(header: bytes) -> tuple[Spec, int]:
    """Return what a header describes, in order of offsets, and how many bytes that takes.

    Raises:
        ArraysError: If it isn't well-formed.
    """
    try:
        found = json.loads(header.decode(), object_pairs_hook=_unique)
        entries = [_entry(name, value) for name, value in found.items() if name != _METADATA]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ArraysError(f"the header is not one of safetensors: {type(error).__name__}: {error}") from None
    entries.sort(key=lambda entry: (entry[2], entry[3]))
    position = 0
    for name, spec, begin, end in entries:
        if begin != position or end - begin != spec.size_bytes:
            raise ArraysError(f"array {name!r} of {spec.size_bytes} bytes claims offsets {begin} to {end}")
        position = end
    return {name: spec for name, spec, _, _ in entries}, position


_read_again = lru_cache(maxsize=4)(_read)
"""The same: a model and all updates of a round have the same header."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice")
    return found


def _entry(name: str, value: Mapping[str, Any]) -> tuple[str, ArraySpec, int, int]:
    dtype, shape, (begin, end) = value["dtype"], value["shape"], value["data_offsets"]
    if dtype not in _CODES:
        raise ValueError(f"array {name!r} has dtype {dtype!r}: allowed are {', '.join(_CODES)}")
    if not isinstance(shape, list) or len(shape) > _MAX_DIMENSIONS:
        raise ValueError(f"array {name!r}: a shape is a list of at most {_MAX_DIMENSIONS} sizes")
    if not all(type(number) is int and 0 <= number < 2**63 for number in (*shape, begin, end)):
        raise ValueError(f"array {name!r}: sizes and offsets are whole numbers from 0")
    # NumPy's own limit: it holds for the sizes that are not 0, also where there are no elements at all.
    if math.prod(max(size, 1) for size in shape) * _CODES[dtype].itemsize >= 2**63:
        raise ValueError(f"array {name!r} is too large")
    return name, ArraySpec(dtype, tuple(shape)), begin, end


def copied(arrays: Arrays) -> dict[str, Array]:
    """Return arrays like these in memory of their own."""
    return {name: values.copy() for name, values in arrays.items()}


def write_file(path: Path, arrays: Arrays, check: Callable[[], object] = lambda: None) -> str:
    """Write ``arrays`` to ``path`` so that it holds all of them or is as it was, and survives a crash.

    Args:
        path: The file.
        arrays: The arrays.
        check: Called when all is written, before that takes its place; if it raises, the file is as it was.

    Returns:
        BLAKE3 digest of the file, in hexadecimal.
    """
    digest = Digest()
    with replacing(path, durable=False) as temporary, temporary.open("wb") as file:
        for piece in encode(arrays):
            file.write(piece)
            digest.update(piece)
        to_disk(file)
        check()
    return digest.hexdigest()


def map_file(path: Path, max_header_bytes: int = MAX_HEADER_BYTES) -> dict[str, Array]:
    """Return the arrays of a file as read-only views of its memory map: read from disk as they are used.

    A longer header than allowed isn't read.

    The map is this call's own: code that writes to it all the same, as PyTorch lets it, changes neither the file nor
    what others read.

    Raises:
        ArraysError: If the file isn't well-formed.
        OSError: If it can't be read.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise ArraysError(f"{path} is empty")
        mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)).toreadonly()
        return decode(mapped, max_header_bytes)
