from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celeriac.compressors import Compressor, load_compressor
from celeriac.compressors.updates import pack_update, packed_spec, unpack_update
from tasks import auxiliary
from tasks.arrays import Array, Arrays, Spec, spec_of
from tasks.errors import ArraysError
from tasks.seeds import generator

NAMES = ["bf16", "int8", "topk:0.01", "topk:0.001", "tests.support:HalfPrecision"]
KINDS = ("c",)


def compressor_of(spec: str) -> Compressor:
    found = load_compressor(spec)
    assert found is not None
    return found


def model() -> dict[str, Array]:
    rng = generator(5, "model")
    return {
        "bias": rng.standard_normal(7).astype(np.float32),
        "half": rng.standard_normal(500).astype(np.float16),
        "running_var": np.ones(40, np.float32),
        "steps": np.array(10),
        "weight": rng.standard_normal((50, 60)).astype(np.float32),
        "wide": rng.standard_normal(200),
    }


def trained(start: Arrays, seed: int) -> dict[str, Array]:
    """The model a step on, with a set of arrays beside it."""
    rng = generator(seed, "trained")
    moved = {
        name: (values + 0.01 * rng.standard_normal(values.shape)).astype(values.dtype)
        for name, values in start.items()
        if values.dtype.kind == "f"
    }
    beside = {
        name: np.asarray(rng.standard_normal(values.shape).astype(auxiliary.kept_dtype(values.dtype)))
        for name, values in moved.items()
    }
    return auxiliary.join({**moved, "steps": np.array(11)}, {"c": beside})


def full_spec(start: Arrays) -> Spec:
    spec = spec_of(start)
    return dict(sorted({**spec, **auxiliary.spec_of_sets(spec, KINDS)}.items()))


@pytest.mark.parametrize("name", NAMES)
def test_an_array_that_a_compressor_keeps_as_it_is_is_sent_whole_and_nothing_of_it_is_owed(name: str) -> None:
    # Given a model with an array of one element, which int8 and bf16 can't make shorter, as a PReLU has
    compressor = compressor_of(name)
    start = {"slope": np.array([0.25], np.float32), "weight": np.zeros((40, 50), np.float32)}
    update = {"slope": np.array([0.75], np.float32), "weight": np.full((40, 50), 1.0, np.float32)}
    # When an update is packed and unpacked
    packed = pack_update(compressor, start, update)
    came = dict(unpack_update(compressor, packed.arrays, start, spec_of(start)))
    # Then what arrives and what is owed are what changed
    assert came["slope"] + packed.lost["slope"] == np.float32(0.75)
    if not name.startswith("topk"):
        assert came["slope"] == np.float32(0.75)
        assert packed.lost["slope"] == 0


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_over_rounds_all_that_changed_arrives_but_for_what_is_still_owed(name: str, seed: int) -> None:
    # Given a client whose six updates are accepted, one after the other
    compressor, start = compressor_of(name), model()
    buffers = {"running_var"}
    arrived = {key: np.zeros(values.shape) for key, values in start.items()}
    changed = {key: np.zeros(values.shape) for key, values in start.items()}
    lost: Arrays | None = None
    for number in range(6):
        update = trained(start, seed + number)
        packed = pack_update(compressor, start, update, buffers, lost)
        lost = packed.lost
        assert spec_of(packed.arrays) == dict(sorted(packed_spec(compressor, full_spec(start), buffers).items()))
        # At zero, what comes out is what was sent alone: nothing is rounded by being added to a model.
        origin = {key: np.zeros(values.shape) for key, values in start.items()}
        came = dict(unpack_update(compressor, packed.arrays, origin, full_spec(start), buffers))
        for key in lost:
            arrived[key] += came[key]
            changed[key] += update[key].astype(np.float64) - start[key].astype(np.float64)
    # Then what arrived and what is owed are what changed, whatever was thrown away on the way
    assert lost is not None
    assert sorted(lost) == ["bias", "half", "weight", "wide"]
    for key, owed in lost.items():
        np.testing.assert_allclose(arrived[key] + owed, changed[key], rtol=0, atol=2e-7)
    assert any(np.abs(owed).max() > 1e-6 for owed in lost.values())


@pytest.mark.parametrize("name", NAMES)
def test_an_update_comes_out_as_one_of_the_model_with_what_goes_beside_it(name: str) -> None:
    # Given an update with a set beside it, and a buffer
    compressor, start = compressor_of(name), model()
    update = trained(start, 1)
    packed = pack_update(compressor, start, update, {"running_var"})
    # When it is unpacked onto the orchestrator's own model, which isn't quite the client's
    own = {key: np.asarray((values + values.dtype.type(1)).astype(values.dtype)) for key, values in start.items()}
    found = list(unpack_update(compressor, packed.arrays, own, full_spec(start), {"running_var"}))
    # Then it has all arrays in order, of the model's dtypes
    assert [key for key, _ in found] == list(full_spec(start))
    assert spec_of(dict(found)) == full_spec(start)
    came = dict(found)
    # And the change, with what is owed, is on top of the orchestrator's
    for key, owed in packed.lost.items():
        change = update[key].astype(np.float64) - start[key].astype(np.float64)
        resolution = max(4 * float(np.finfo(own[key].dtype).eps), 1e-8)  # differences are of float32
        np.testing.assert_allclose(came[key] - own[key].astype(np.float64) + owed, change, rtol=0, atol=resolution)
    # And counters are the client's, as they are; buffers and sets as exact as a model's arrays
    assert came["steps"] == 11
    exact = not compressor.also_models
    for key in ("running_var", "@c/weight", "@c/bias"):
        np.testing.assert_allclose(came[key], update[key], atol=0 if exact else np.abs(update[key]).max() / 250)


def test_a_buffer_is_never_a_difference() -> None:
    # Given a running variance that has become small, and a compressor that sends a mean change
    compressor = compressor_of("topk:0.25")
    start = {"running_var": np.full(100, 0.5, np.float32), "w": np.zeros(100, np.float32)}
    update = {"running_var": np.geomspace(1e-3, 0.5, 100, dtype=np.float32), "w": np.ones(100, np.float32)}
    # When it comes out, then it is what the client has
    packed = pack_update(compressor, start, update, {"running_var"})
    came = dict(unpack_update(compressor, packed.arrays, start, spec_of(start), {"running_var"}))
    np.testing.assert_array_equal(came["running_var"], update["running_var"])


def test_what_is_owed_of_an_array_that_has_grown_is_dropped() -> None:
    # Given what a client owes of two arrays, of which one had another shape then, and a third that wasn't there
    start: Arrays = {name: np.zeros(4, np.float32) for name in ("grown", "new", "old")}
    lost: Arrays = {"grown": np.ones(3, np.float32), "old": np.ones(4, np.float32)}

    # When it packs an update without changes, then what it owes of the one that is as it was goes along
    packed = pack_update(compressor_of("bf16"), start, start, (), lost)
    came = dict(unpack_update(compressor_of("bf16"), packed.arrays, start, spec_of(start)))
    assert {name: values.tolist() for name, values in came.items()} == {
        "grown": [0] * 4, "new": [0] * 4, "old": [1] * 4
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_model_without_floats_has_nothing_to_compress(name: str) -> None:
    compressor, start = compressor_of(name), {"votes": np.arange(5), "flags": np.ones(2, np.bool_)}
    packed = pack_update(compressor, start, {"votes": np.arange(5) + 1, "flags": np.zeros(2, np.bool_)})
    came = dict(unpack_update(compressor, packed.arrays, start, spec_of(start)))
    assert came["votes"].tolist() == [1, 2, 3, 4, 5]
    assert not came["flags"].any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_arrives_as_none(name: str, bad: float) -> None:
    # Given an update that diverged
    compressor, start = compressor_of(name), model()
    update = {**trained(start, 1), "weight": np.full((50, 60), bad, np.float32)}
    # When it comes out, then the orchestrator can see it
    packed = pack_update(compressor, start, update)
    came = dict(unpack_update(compressor, packed.arrays, start, full_spec(start)))
    assert not np.isfinite(came["weight"]).all()


@pytest.mark.parametrize("update", [{}, {"w": np.zeros(4, np.float32)}])
def test_an_update_of_another_model_isnt_packed(update: Arrays) -> None:
    start = {"w": np.zeros(3, np.float32)}
    with pytest.raises(ArraysError, match="array 'w' of the model isn't in the update, or has another shape there"):
        pack_update(compressor_of("int8"), start, update)


def test_what_an_own_compressor_mixes_up_is_told() -> None:
    # Given a compressor that gives the first of two arrays back alone
    compressor = compressor_of("bf16")
    start = {"a": np.zeros(3, np.float32), "b": np.zeros(3, np.float32)}
    packed = pack_update(compressor, start, start).arrays
    # When an update is unpacked, then it is said which one is missing
    with pytest.raises(ArraysError, match="array 'b' was compressed, and nothing came back"):
        list(unpack_update(Shortened(compressor), packed, start, spec_of(start)))


class Shortened(Compressor):
    """Gives the first array back alone."""

    def __init__(self, whole: Compressor) -> None:
        self._whole = whole

    def spec(self, original: Spec) -> Spec:
        return self._whole.spec(original)

    def compress(self, arrays: Arrays) -> dict[str, Array]:
        return self._whole.compress(arrays)

    def decompress(self, compressed, original):  # type: ignore[no-untyped-def]
        yield next(self._whole.decompress(compressed, original))
