from __future__ import annotations

import numpy as np
import pytest

from celeriac.compressors import load_compressor
from celeriac.compressors.models import pack_model, unpack_model
from tasks.arrays import Arrays, decode, encode, spec_of
from tasks.errors import ArraysError

RNG = np.random.default_rng(3)
MODEL: Arrays = {
    "w": RNG.standard_normal((40, 30)).astype(np.float32),
    "wide": RNG.standard_normal(70),
    "scale": np.array(0.5, np.float32),
    "steps": np.array(12),
    "@c/w": RNG.standard_normal((40, 30)).astype(np.float32),
}


@pytest.mark.parametrize(
    ("spec", "tolerance"), [("bf16", 1 / 256), ("int8", 1 / 50), ("tests.support:HalfPrecision", 1e-3)]
)
def test_a_model_is_read_by_who_knows_nothing_of_its_spec(spec: str, tolerance: float) -> None:
    # Given a model that was packed and went over the wire
    compressor = load_compressor(spec)
    packed = pack_model(compressor, MODEL)
    received = decode(b"".join(encode(packed)))
    # When it is unpacked, then names, dtypes and shapes are the model's, and values are near
    found = unpack_model(compressor, received)
    assert spec_of(found) == spec_of(MODEL)
    for name, values in MODEL.items():
        np.testing.assert_allclose(found[name], values, atol=tolerance * np.abs(values).max())
    assert found["steps"] == 12
    # And nobody changes it for the others of the process
    assert not any(values.flags.writeable for values in found.values())


@pytest.mark.parametrize("spec", ["none", "topk"])
def test_a_model_is_left_alone_by_what_isnt_for_models(spec: str) -> None:
    compressor = load_compressor(spec)
    assert pack_model(compressor, MODEL) is MODEL
    assert unpack_model(compressor, MODEL) is MODEL


def test_a_model_that_was_packed_otherwise_is_refused() -> None:
    # Given a model packed by another compressor, and one that wasn't packed at all
    for packed in (pack_model(load_compressor("int8"), MODEL), MODEL):
        # When it is unpacked, then it is said
        with pytest.raises(ArraysError, match="isn't packed by the compression that the order names"):
            unpack_model(load_compressor("bf16"), packed)


@pytest.mark.parametrize("spec", ["int8", "bf16"])
def test_packing_changes_nothing_that_it_is_given(spec: str) -> None:
    # Given arrays that can be written to, when they are packed, then they are what they were
    given = {name: values.copy() for name, values in MODEL.items()}
    pack_model(load_compressor(spec), given)
    assert {name: values.tobytes() for name, values in given.items()} == {n: v.tobytes() for n, v in MODEL.items()}
