from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from celeriac.compressors import load_compressor
from celeriac.compressors.topk import DEFAULT_SHARE, TopK, topk
from tasks.arrays import Array, Arrays, ArraySpec, encoded_size, spec_of
from tasks.errors import ArraysError, ConfigurationError

SHARES = st.sampled_from([0.0001, 0.001, 0.003, 0.01, 0.05, 0.25])
FLOATS = hnp.arrays(np.float32, st.integers(0, 600), elements=st.floats(-(2.0**100), 2.0**100, width=32))


def roundtrip(arrays: Arrays, share: float) -> dict[str, Array]:
    compressor = TopK(share)
    compressed = compressor.compress(arrays)
    assert spec_of(compressed) == compressor.spec(spec_of(arrays))
    found = dict(compressor.decompress(compressed, spec_of(arrays)))
    assert spec_of(found) == spec_of(arrays)
    return found


@given(FLOATS, FLOATS, SHARES)
def test_the_largest_are_kept_with_their_sign_and_their_arrays_mean_size(a: Array, b: Array, share: float) -> None:
    # Given two arrays
    found = roundtrip({"a": a, "b": b}, share)
    both, back = np.concatenate([a, b]), np.concatenate([found["a"], found["b"]])
    kept = back != 0
    # When they come back, then something is kept where something is there, with its sign
    assert kept.any() == (both != 0).any()
    assert (np.sign(back[kept]) == np.sign(both[kept])).all()
    # And nothing that was left out is larger than the smallest that was kept
    if kept.any() and not kept.all():
        assert np.abs(both[~kept]).max() <= np.abs(both[kept]).min()
    # And each array's have one size, the mean of their own
    for name, values in (("a", a), ("b", b)):
        own = found[name] != 0
        if own.any():
            sizes = np.abs(found[name][own])
            np.testing.assert_allclose(sizes, np.abs(values[own].astype(np.float64)).mean(), rtol=1e-6)
            assert len(set(sizes.tolist())) == 1


def test_moves_by_hand() -> None:
    # Given 500 values, of which three of 4 aren't zero, and a budget of 500 * 4 * 0.003 = 6 moves
    values = np.zeros(500, np.float32)
    values[[0, 130, 499]] = [3, -1, 2]
    # When they are compressed
    compressed = TopK(0.003).compress({"w": values})
    # Then there is one at once; 127 passed over and two more, negative; 2 * 127 passed over and 114 more
    assert compressed["moves"].tolist() == [0, 127, 128 + 2, 127, 127, 114]
    assert compressed["sizes"].tolist() == [2.0]


def test_the_smallest_of_the_largest_make_room_for_moves_that_pass_over() -> None:
    # Given five moves, and five values, of which the last is reached by three moves that keep none
    values = np.zeros(400, np.float32)
    values[[0, 1, 2, 3, 399]] = [5, 4, -2, 3, 6]
    # When they are compressed, then the two largest are kept
    found = roundtrip({"w": values}, 0.003)["w"]
    assert np.flatnonzero(found).tolist() == [0, 399]
    assert found[399] == 5.5


def test_the_far_end_is_reached_whatever_the_share() -> None:
    # Given arrays whose only change is in the last place
    for share in (0.0001, 0.0029, 0.003, 0.01, 0.25):
        for size in (1, 126, 127, 128, 254, 255, 381, 382, 5000, 32767, 32768, 65535, 100_000):
            values = np.zeros(size, np.float32)
            values[-1] = -3
            # When it is compressed, then it is kept
            found = roundtrip({"w": values}, share)["w"]
            assert np.flatnonzero(found).tolist() == [size - 1]
            assert found[-1] == -3


def test_of_equal_values_the_first_are_kept() -> None:
    # Given 1000 values that are equally large, and 40 moves
    found = roundtrip({"a": np.full(500, 2.0, np.float32), "b": np.full(500, -2.0, np.float32)}, 0.01)
    # When they come back, then the first 40 are there
    assert found["a"].tolist() == [2.0] * 40 + [0.0] * 460
    assert not found["b"].any()


def test_a_quarter_of_the_bytes_is_every_sign() -> None:
    values = np.random.default_rng(0).standard_normal(3000).astype(np.float32)
    found = roundtrip({"w": values}, 0.25)["w"]
    np.testing.assert_array_equal(np.sign(found), np.sign(values))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_can_still_be_seen(bad: float) -> None:
    values = np.linspace(0, 1, 1000, dtype=np.float32)
    values[7] = bad
    assert not np.isfinite(roundtrip({"w": values}, 0.01)["w"]).all()


def test_moves_in_several_blocks_and_over_arrays_of_all_sizes() -> None:
    # Given more moves than are read at a time, over arrays some of which have nothing
    rng = np.random.default_rng(1)
    arrays = {
        f"{index:03d}": rng.standard_normal(size).astype(np.float32)
        for index, size in enumerate([0, 1, 200_000, 3, 0, 700_000, 17])
    }
    found = roundtrip(arrays, 0.05)
    # When they come back, then all that are kept are in their places
    both, back = (np.concatenate(list(each.values())) for each in (arrays, found))
    kept = np.flatnonzero(back)
    assert 170_000 < kept.size < 180_100
    np.testing.assert_array_equal(np.sign(back[kept]), np.sign(both[kept]))
    assert np.abs(both[kept]).min() >= np.abs(both[back == 0]).max()


@given(
    st.binary(min_size=40, max_size=40),
    st.lists(st.floats(width=32), min_size=3, max_size=3),
)
def test_whatever_bytes_a_client_sends_are_refused_or_make_arrays(moves: bytes, sizes: list[float]) -> None:
    # Given 40 moves, for 1000 values, of any bytes
    original = {"a": ArraySpec("F32", (300,)), "b": ArraySpec("F32", (20, 20)), "c": ArraySpec("F32", (300,))}
    sent: Arrays = {"moves": np.frombuffer(moves, np.uint8), "sizes": np.array(sizes, np.float32)}
    assert TopK(0.01).spec(original) == spec_of(sent)
    # When they are read, then there are arrays of the spec, or it is said what is wrong
    try:
        told, found = "", dict(TopK(0.01).decompress(sent, original))
    except ArraysError as error:
        told, found = str(error), {}
    assert told == "'moves' keeps a value beyond the 1000 that there are" or spec_of(found) == original


def test_a_value_beyond_the_end_is_refused() -> None:
    # Given four moves for 100 values: the last of them at 99, and at 100
    original = {"w": ArraySpec("F32", (100,))}
    sizes = np.ones(1, np.float32)
    good, bad = (np.array([96, 0, 0, last], np.uint8) for last in (0, 1))
    assert np.flatnonzero(dict(TopK(0.01).decompress({"moves": good, "sizes": sizes}, original))["w"])[-1] == 99
    with pytest.raises(ArraysError, match="'moves' keeps a value beyond the 100 that there are"):
        dict(TopK(0.01).decompress({"moves": bad, "sizes": sizes}, original))


def test_a_blob_is_as_long_as_the_share_says() -> None:
    spec = {"a": ArraySpec("F32", (1000, 1000)), "b": ArraySpec("F32", (1000,))}
    for share in (0.0001, 0.001, 0.01, 0.1):
        assert encoded_size(TopK(share).spec(spec)) == pytest.approx(share * encoded_size(spec), abs=250)


@pytest.mark.parametrize("parameter", ["x", "0", "0.3", "-0.01", "nan", "inf", "0.00001"])
def test_a_share_that_makes_no_sense_is_refused(parameter: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        topk(parameter)
    assert str(caught.value) == (
        f"compression 'topk:{parameter}': write topk:SHARE with SHARE from 0.0001 to 0.25, like topk:0.01"
    )


def test_one_per_cent_is_what_it_is_without_a_parameter() -> None:
    spec = {"w": ArraySpec("F32", (10_000,))}
    [without, given] = [load_compressor(name) for name in ("topk", f"topk:{DEFAULT_SHARE}")]
    assert without is not None
    assert given is not None
    assert without.spec(spec) == given.spec(spec)
