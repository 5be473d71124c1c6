from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from celeriac.compressors.bf16 import Bf16, from_bf16, to_bf16
from tasks.arrays import Arrays, ArraySpec, encoded_size, spec_of

BITS = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50)


@given(BITS)
def test_every_float32_is_rounded_as_torch_rounds_it(bits: list[int]) -> None:
    # Given float32 of any bits: small, large, infinite, NaN
    values = np.array(bits, np.uint32).view(np.float32)
    # When they are rounded, then the result is PyTorch's, and NaN stays NaN
    found = from_bf16(to_bf16(values))
    expected = torch.from_numpy(values).to(torch.bfloat16).to(torch.float32).numpy()
    np.testing.assert_array_equal(found, expected)
    assert np.isnan(found).tolist() == np.isnan(values).tolist()


@given(st.lists(st.floats(1e-37, 1e37), min_size=1))
def test_a_value_is_off_by_a_256th_of_itself_at_the_most(given: list[float]) -> None:
    values = np.array([*given, *(-value for value in given)], np.float32)
    assert (np.abs(from_bf16(to_bf16(values)) - values) <= np.abs(values) / 256).all()


@pytest.mark.parametrize(
    ("value", "rounded"),
    [(1 + 2**-8, 1.0), (1 + 3 * 2**-8, 1 + 2**-6), (1 + 2**-8 + 2**-20, 1 + 2**-7), (3.4e38, np.inf), (-0.0, -0.0)],
    ids=["half to even below", "half to even above", "over half", "beyond the largest", "minus zero"],
)
def test_halves_go_to_even(value: float, rounded: float) -> None:
    # Given what lies between two bfloat16, whose last place is 2**-7 from 1 on
    found = from_bf16(to_bf16(np.array(value, np.float32)))
    # When it is rounded, then to the nearer, or to the even one
    assert (found.shape, float(found), np.signbit(found)) == ((), rounded, np.signbit(rounded))


def test_arrays_of_float32_are_halved_and_others_are_as_exact_as_they_were() -> None:
    # Given arrays of all sorts
    rng = np.random.default_rng(0)
    model: Arrays = {
        "w": rng.standard_normal((300, 20)).astype(np.float32),
        "wide": rng.standard_normal(1000),
        "half": rng.standard_normal(1000).astype(np.float16),
        "count": np.array(7),
        "flags": np.array([True, False]),
        "none": np.zeros((0, 3), np.float32),
    }
    compressor = Bf16()
    # When they are compressed
    compressed = compressor.compress(model)
    # Then they are what was said, float32 in half the bytes and float64 in a quarter
    assert spec_of(compressed) == dict(sorted(compressor.spec(spec_of(model)).items()))
    assert compressed["values:w"].nbytes == model["w"].nbytes / 2
    assert compressed["values:wide"].nbytes == model["wide"].nbytes / 4
    # And come back in their order, dtypes and shapes, those that aren't longer than 16 bits as they were
    back = dict(compressor.decompress(compressed, spec_of(model)))
    assert list(back) == sorted(model)
    assert spec_of(back) == spec_of(model)
    for name in ("half", "count", "flags", "none"):
        np.testing.assert_array_equal(back[name], model[name])
    np.testing.assert_allclose(back["wide"], model["wide"], rtol=1 / 256)


def test_the_blob_of_a_large_model_is_half_as_long() -> None:
    spec = {"w": ArraySpec("F32", (1000, 1000))}
    assert encoded_size(Bf16().spec(spec)) / encoded_size(spec) == pytest.approx(0.5, abs=1e-3)
