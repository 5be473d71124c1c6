from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from tasks import arrays
from tasks.arrays import BFLOAT16, Array, Arrays, ArraySpec
from tasks.errors import ArraysError
from tests.support import added_in_place

CODES = {
    "F64": "f8",
    "F32": "f4",
    "F16": "f2",
    "I64": "i8",
    "I32": "i4",
    "I16": "i2",
    "I8": "i1",
    "U64": "u8",
    "U32": "u4",
    "U16": "u2",
    "U8": "u1",
    "BOOL": "?",
}
DTYPES = st.sampled_from([np.dtype(order + code) for code in CODES.values() for order in "<>"])
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(lambda name: name != "__metadata__")
ANY_ARRAYS = st.dictionaries(NAMES, hnp.arrays(DTYPES, SHAPES), max_size=5)
LITTLE: Arrays = {"a": np.array([1.0, 2.0], np.float32), "b": np.array(7, np.int16), "c": np.zeros((0, 3), np.uint8)}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.sampled_from(sorted(CODES)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
SIZES = st.sampled_from([-1, 0, 1, 2, 4, 8, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64, 10**30])
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from([*CODES, "BF16", "F8_E4M3", "f32", ""]) | JSON,
        "shape": st.lists(SIZES, max_size=5) | JSON,
        "data_offsets": st.lists(SIZES, min_size=2, max_size=2) | JSON,
        "more": JSON,
    },
)


def joined(named: Arrays) -> bytes:
    return b"".join(arrays.encode(named))


def document(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(dtype: object = "F32", shape: object = (1,), offsets: object = (0, 4)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def same(found: Array, expected: Array) -> bool:
    """Equal in dtype (of the machine's byte order), shape and every bit."""
    native = expected.astype(expected.dtype.newbyteorder("="))
    return found.dtype == native.dtype and found.shape == native.shape and found.tobytes() == native.tobytes()


@given(named=ANY_ARRAYS)
def test_whatever_is_encoded_is_decoded_to_the_last_bit(named: dict[str, Array]) -> None:
    # Given arrays of all dtypes and byte orders, with and without dimensions and elements
    # When they are encoded and decoded
    decoded = arrays.decode(joined(named))
    # Then names, shapes and values are as they were
    assert sorted(decoded) == sorted(named)
    assert all(same(decoded[name], named[name]) for name in named)


@given(named=ANY_ARRAYS, seed=st.randoms(use_true_random=False))
def test_equal_arrays_are_equal_bytes_whatever_the_order(named: dict[str, Array], seed: Any) -> None:
    # Given the same arrays in another order
    names = list(named)
    seed.shuffle(names)
    # When both are encoded, then the bytes are equal
    assert joined(named) == joined({name: named[name] for name in names})


@given(named=ANY_ARRAYS)
def test_the_size_is_known_before_encoding(named: dict[str, Array]) -> None:
    # Given the spec alone, when the size is asked for, then it is what encoding gives
    assert arrays.encoded_size(arrays.spec_of(named)) == len(joined(named))


@given(named=ANY_ARRAYS)
def test_the_safetensors_library_reads_what_is_encoded(named: dict[str, Array]) -> None:
    # Given encoded arrays
    # When the library loads them
    loaded = safetensors.numpy.load(joined(named))
    # Then they are the same
    assert sorted(loaded) == sorted(named)
    assert all(same(loaded[name], named[name]) for name in named)


@given(
    named=st.dictionaries(NAMES, hnp.arrays(st.sampled_from([np.dtype(code) for code in CODES.values()]), SHAPES)),
    metadata=st.none() | st.dictionaries(st.text(max_size=4), st.text(max_size=4), min_size=1, max_size=2),
)
def test_what_the_safetensors_library_saves_is_decoded(
    named: dict[str, Array], metadata: dict[str, str] | None
) -> None:
    # Given arrays saved by the library, which orders them otherwise and may add metadata
    saved = safetensors.numpy.save(named, metadata)
    # When they are decoded
    decoded = arrays.decode(saved)
    # Then they are the same
    assert sorted(decoded) == sorted(named)
    assert all(same(decoded[name], named[name]) for name in named)


def test_two_arrays_are_the_bytes_that_the_format_says() -> None:
    # Given a float32 array of 1 and 2, and an int16 one without dimensions
    named: Arrays = {"b": np.array(7, np.int16), "a": np.array([1, 2], np.float32)}
    # When they are encoded
    data = joined(named)
    # Then a header of 112 bytes, padded with spaces, is followed by the values, names in order
    header = (
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"I16","shape":[],"data_offsets":[8,10]}}'
    )
    assert data == b"\x70" + bytes(7) + header.ljust(112) + b"\0\0\x80\x3f" + b"\0\0\0\x40" + b"\x07\0"


def test_no_arrays_are_a_header_alone() -> None:
    # Given no arrays, when they are encoded, then eight bytes of header are left
    assert joined({}) == b"\x08" + bytes(7) + b"{}      "
    assert arrays.decode(joined({})) == {}


def test_big_endian_and_transposed_arrays_are_laid_out_like_any_other() -> None:
    # Given a matrix, the same big-endian, and the same as the transpose of a transposed copy
    matrix = np.array([[1, 2, 3], [4, 5, 6]], np.int32)
    others = [matrix.astype(">i4"), np.asfortranarray(matrix), np.repeat(matrix, 2, axis=1)[:, ::2]]
    assert not any(other.flags.c_contiguous and other.dtype.isnative for other in others)
    # When all are encoded, then there is no difference
    assert {joined({"m": other}) for other in others} == {joined({"m": matrix})}


def test_contiguous_arrays_are_encoded_out_of_their_own_memory() -> None:
    # Given an array
    values = np.arange(10, dtype=np.float64)
    # When it is encoded
    _, piece = arrays.encode({"values": values})
    # Then the piece is the array's memory
    assert np.shares_memory(np.frombuffer(piece, np.uint8), values)


def test_decoded_arrays_are_views_of_the_data() -> None:
    # Given bytes that can be written to, and the same that can't
    data = bytearray(joined(LITTLE))
    # When they are decoded
    writable, fixed = arrays.decode(data), arrays.decode(bytes(data))
    # Then what is written to an array is in the data, and the others are read-only
    assert np.shares_memory(writable["a"], np.frombuffer(data, np.uint8))
    writable["b"][...] = 0x0102
    assert data[-2:] == b"\x02\x01"
    assert not fixed["a"].flags.writeable


def test_the_spec_says_names_dtypes_and_shapes_in_order() -> None:
    # Given arrays out of order
    named = {"z": np.zeros((2, 3), ">f2"), "a": np.array(1, np.bool_)}
    # When their spec is asked for
    spec = arrays.spec_of(named)
    # Then it is sorted, whatever the byte order
    assert list(spec.items()) == [("a", ArraySpec("BOOL", ())), ("z", ArraySpec("F16", (2, 3)))]
    assert [part.size_bytes for part in spec.values()] == [1, 12]


@pytest.mark.parametrize(
    "values", [np.array(["text"]), np.array([1j]), np.array([None]), np.array(["2026-01-01"], "M8[D]")]
)
def test_other_dtypes_are_refused_by_name(values: Array) -> None:
    # Given an array of text, complex numbers, objects or dates
    # When it is encoded, then the message names the array and what is allowed
    with pytest.raises(ArraysError, match=r"array 'odd' has dtype .*: allowed are F64, F32, F16, BF16, I64"):
        joined({"odd": values})


def test_bfloat16_is_read_and_written_by_torch_as_we_do() -> None:
    # Given numbers in bfloat16, one of them negative and one infinite
    numbers = np.array([1.5, -2.0, np.inf], BFLOAT16)
    # When they are encoded, then PyTorch's reader of safetensors finds the same numbers
    loaded = safetensors.torch.load(joined({"a": numbers}))["a"]
    assert (loaded.dtype, loaded.tolist()) == (torch.bfloat16, [1.5, -2.0, math.inf])
    # And what its writer writes is decoded to the bit
    assert same(arrays.decode(safetensors.torch.save({"a": loaded}))["a"], numbers)


def test_no_part_of_the_data_will_do_for_the_whole() -> None:
    # Given encoded arrays
    data = joined(LITTLE)
    # When any number of bytes is missing at the end, or one is too many, then it is refused
    for length in range(len(data)):
        with pytest.raises(ArraysError):
            arrays.decode(data[:length])
    with pytest.raises(ArraysError):
        arrays.decode(data + b"\0")


MALFORMED = {
    "a header that is longer than the data": (2**64 - 1).to_bytes(8, "little") + b"{}",
    "a header that is no JSON": document(b"{'a': 1}"),
    "a header that is no text": document(b"\xff\xfe\xfd"),
    "a header that is a list": document([]),
    "a header that is null": document(None),
    "a header nested beyond measure": document(b"[" * 200_000),
    "an entry nested beyond measure": document(b'{"a":' * 50_000),
    "an entry that is NaN": document(b'{"a":NaN}'),
    "an entry that is a number": document({"a": 1}),
    "an entry that is a list": document({"a": ["F32", [1], [0, 4]]}, b"abcd"),
    "an entry without dtype": document({"a": {"shape": [1], "data_offsets": [0, 4]}}, b"abcd"),
    "an entry without shape": document({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, b"abcd"),
    "an entry without offsets": document({"a": {"dtype": "F32", "shape": [1]}}, b"abcd"),
    "an unknown dtype": document({"a": entry(dtype="F8_E4M3", offsets=[0, 1])}, b"a"),
    "a dtype in lower case": document({"a": entry(dtype="f32")}, b"abcd"),
    "a dtype that is a list": document({"a": entry(dtype=["F32"])}, b"abcd"),
    "a dtype that is an object": document({"a": entry(dtype={})}, b"abcd"),
    "a dtype that is null": document({"a": entry(dtype=None)}, b"abcd"),
    "a shape that is a number": document({"a": entry(shape=1)}, b"abcd"),
    "a shape that is null": document({"a": entry(shape=None)}, b"abcd"),
    "a negative size": document({"a": entry(shape=[-1])}, b"abcd"),
    "two negative sizes": document({"a": entry(shape=[-1, -1])}, b"abcd"),
    "a size that is a float": document({"a": entry(shape=[1.0])}, b"abcd"),
    "a size that is NaN": document({"a": entry(shape=[float("nan")])}, b"abcd"),
    "a size that is infinite": document({"a": entry(shape=[float("inf")])}, b"abcd"),
    "a size that is true": document({"a": entry(shape=[True])}, b"abcd"),
    "a size that is text": document({"a": entry(shape=["1"])}, b"abcd"),
    "a size of 2**62": document({"a": entry(shape=[2**62])}, b"abcd"),
    "a size of 2**64": document({"a": entry(shape=[2**64])}, b"abcd"),
    "sizes whose product wraps to 4 bytes": document({"a": entry(shape=[2**32 + 1, 2**32 - 1, 2**62])}, b"abcd"),
    "a size of 5000 digits": document(
        b'{"a":{"dtype":"U8","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,1]}}', b"a"
    ),
    "no elements of a size that no array has": document({"a": entry(shape=[0, 2**62, 2**62], offsets=[0, 0])}),
    "more dimensions than an array has": document({"a": entry(shape=[1] * 65)}, b"abcd"),
    "one offset": document({"a": entry(offsets=[4])}, b"abcd"),
    "three offsets": document({"a": entry(offsets=[0, 2, 4])}, b"abcd"),
    "offsets the wrong way round": document({"a": entry(offsets=[4, 0])}, b"abcd"),
    "a negative offset": document({"a": entry(offsets=[-4, 0])}, b"abcd"),
    "a huge offset": document({"a": entry(offsets=[2**64, 2**64 + 4])}, b"abcd"),
    "offsets that don't fit the shape": document({"a": entry(offsets=[0, 3])}, b"abc"),
    "offsets past the end": document({"a": entry()}, b"abc"),
    "bytes that belong to no array": document({"a": entry()}, b"abcde"),
    "a hole at the start": document({"a": entry(offsets=[4, 8])}, b"abcdefgh"),
    "a hole in the middle": document({"a": entry(), "b": entry(offsets=[8, 12])}, b"abcdefghijkl"),
    "arrays that overlap": document({"a": entry(shape=[2], offsets=[0, 8]), "b": entry(offsets=[4, 8])}, b"abcdefgh"),
    "arrays at one place": document({"a": entry(), "b": entry()}, b"abcd"),
    "a name twice, at two places": document(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        b"abcdefgh",
    ),
    "a name twice, at one place": document(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}}',
        b"abcd",
    ),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_data_is_refused(data: bytes) -> None:
    # Given data with one thing wrong, when it is decoded, then that is said by the one error for it
    with pytest.raises(ArraysError):
        arrays.decode(data)


def refused_or_decoded(data: bytes) -> None:
    """Decode, and let nothing pass but arrays and the one error."""
    try:
        decoded = arrays.decode(data)
    except ArraysError:
        return
    assert all(isinstance(values, np.ndarray) for values in decoded.values())


@given(data=st.binary(max_size=64))
def test_random_bytes_raise_nothing_but_the_one_error(data: bytes) -> None:
    # Given random bytes, with and without a length that fits
    # When they are decoded, then they are arrays or refused
    refused_or_decoded(data)
    refused_or_decoded(document(data))


@given(data=st.data())
def test_changed_bytes_raise_nothing_but_the_one_error(data: st.DataObject) -> None:
    # Given good data of which a few bytes were replaced, removed or added
    mutated = bytearray(joined(LITTLE))
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, len(mutated)))
        end = min(len(mutated), begin + data.draw(st.integers(0, 3)))
        mutated[begin:end] = data.draw(st.binary(max_size=3) | st.sampled_from([b"0", b"9", b'"', b"-", b"[", b"]"]))
    # When it is decoded, then it is arrays or refused
    refused_or_decoded(bytes(mutated))


@given(header=st.dictionaries(NAMES, ENTRIES | JSON, max_size=3) | JSON, body=st.binary(max_size=16))
def test_made_up_headers_raise_nothing_but_the_one_error(header: object, body: bytes) -> None:
    # Given a header with entries that are right in parts
    # When it is decoded, then it is arrays or refused
    refused_or_decoded(document(header, body))


def test_a_file_holds_what_was_written_and_the_digest_is_its_own(tmp_path: Path) -> None:
    # Given a file
    path = tmp_path / "model.safetensors"
    # When arrays are written to it
    digest = arrays.write_file(path, LITTLE)
    # Then it holds them and nothing else is in the folder
    assert path.read_bytes() == joined(LITTLE)
    assert digest == blake3(path.read_bytes()).hexdigest()
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_stays_as_it_was_when_its_arrays_cant_be_encoded(tmp_path: Path) -> None:
    # Given a file
    path = tmp_path / "model.safetensors"
    arrays.write_file(path, LITTLE)
    # When text is to be written to it
    with pytest.raises(ArraysError):
        arrays.write_file(path, {"a": np.array(["text"])})
    # Then it holds what it held
    assert path.read_bytes() == joined(LITTLE)


def test_a_file_that_was_replaced_is_still_whole_for_those_who_mapped_it(tmp_path: Path) -> None:
    # Given a mapped file
    path = tmp_path / "model.safetensors"
    arrays.write_file(path, {"a": np.array([1, 2])})
    mapped = arrays.map_file(path)
    # When it is written anew
    arrays.write_file(path, {"a": np.array([3, 4])})
    # Then the former values are where they were
    assert mapped["a"].tolist() == [1, 2]
    assert arrays.map_file(path)["a"].tolist() == [3, 4]


def test_mapped_arrays_are_read_only(tmp_path: Path) -> None:
    # Given a file
    path = tmp_path / "model.safetensors"
    arrays.write_file(path, LITTLE)
    # When it is mapped
    mapped = arrays.map_file(path)
    # Then the values are there and can't be changed
    assert {name: same(mapped[name], LITTLE[name]) for name in mapped} == {"a": True, "b": True, "c": True}
    with pytest.raises(ValueError, match="read-only"):
        mapped["a"][0] = 5.0


@pytest.mark.parametrize("content", [b"", b"\0", b"no arrays at all"])
def test_a_file_without_arrays_is_refused(tmp_path: Path, content: bytes) -> None:
    # Given a file of something else, when it is mapped, then it is refused
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ArraysError):
        arrays.map_file(path)


def test_a_file_that_isnt_there_is_no_arrays_error(tmp_path: Path) -> None:
    # Given no file, when it is mapped, then the error is the system's
    with pytest.raises(FileNotFoundError):
        arrays.map_file(tmp_path / "model.safetensors")


def test_what_is_written_to_a_files_map_all_the_same_stays_in_that_map(tmp_path: Path) -> None:
    # Given a file of arrays that is mapped twice
    path = tmp_path / "model.safetensors"
    arrays.write_file(path, {"w": np.zeros(5000, np.float32)})
    one, other = arrays.map_file(path)["w"], arrays.map_file(path)["w"]
    assert not one.flags.writeable
    # When PyTorch writes to one of the maps, then the other and the file are as they were
    added_in_place(one)
    assert one.max() == 1
    assert other.max() == 0
    assert arrays.map_file(path)["w"].max() == 0


def test_what_is_made_of_a_model_is_its_readers_own() -> None:
    # Given a file that is read twice, when the first reader takes an array out, then the second one has it
    data = b"".join(arrays.encode({"a": np.zeros(2), "b": np.ones(3)}))
    first, second = arrays.decode(data), arrays.decode(data)
    del first["a"]
    assert (list(first), list(second)) == (["b"], ["a", "b"])
    # And other arrays behind the same header are too few
    with pytest.raises(ArraysError, match="the header describes 40 bytes of arrays, 39 are there"):
        arrays.decode(data[:-1])
