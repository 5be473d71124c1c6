from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.compressors import Compressor, load_compressor
from celeriac.compressors.models import pack_model, unpack_model
from celeriac.compressors.updates import pack_update, packed_spec, unpack_update
from orchestrator.store.run_folder import RunFolder
from tasks.arrays import BFLOAT16, Arrays, decode, encode, map_file, spec_of, write_file
from tasks.blobs.blob import publish
from tasks.blobs.chunks import MemoryChunks
from tasks.messages import Status
from tests.fuzz.bounds import SOME, read
from tests.fuzz.mutations import as_json, mutated, mutated_document
from tests.support import job_of, run_config, take_in, train_order, trained

MODEL: Arrays = {
    "bias": np.arange(3, dtype=np.float64),
    "count": np.array(7),
    "half": np.ones((2, 0), np.float16),
    "layer.weight": np.linspace(-1, 1, 600, dtype=np.float32).reshape(2, 300),
    "narrow": np.ones(5).astype(BFLOAT16),
}
COMPRESSORS = ("bf16", "int8", "topk:0.2", "topk:0.002")


def whole(arrays: Arrays) -> bytes:
    return b"".join(encode(arrays))


@st.composite
def nearly_arrays(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes of arrays, with something changed: anywhere, or in the header, which then has its right length."""
    if draw(st.booleans()):
        return draw(mutated(st.just(content)))
    start = 8 + int.from_bytes(content[:8], "little")
    header = as_json(draw(mutated_document(st.just(json.loads(content[8:start])))))
    return len(header).to_bytes(8, "little") + header + content[start:]


@SOME
@given(nearly_arrays(whole(MODEL)))
def test_arrays_are_read_or_refused_whatever_is_in_them(content: bytes) -> None:
    # When they are decoded, then what is there can be encoded again
    found = read(lambda: decode(content), len(content))
    if found is not None:
        assert {name: values.tobytes() for name, values in decode(whole(found)).items()} == {
            name: values.tobytes() for name, values in found.items()
        }


def test_a_file_of_arrays_is_read_or_refused_whatever_is_in_it(tmp_path: Path) -> None:
    @SOME
    @given(nearly_arrays(whole({"w": MODEL["layer.weight"]})))
    def check(content: bytes) -> None:
        # Given an initial model that somebody else has written, when it is mapped, then it is arrays, or refused
        (tmp_path / "model.safetensors").write_bytes(content)
        read(lambda: map_file(tmp_path / "model.safetensors"), len(content))

    check()


@pytest.mark.parametrize("name", COMPRESSORS)
def test_a_compressed_model_is_unpacked_or_refused_whatever_is_in_it(name: str) -> None:
    compressor = load_compressor(name)

    @SOME
    @given(nearly_arrays(whole(pack_model(compressor, MODEL))))
    def check(content: bytes) -> None:
        # When a client unpacks it, then it is a model of the spec that it says
        found = read(lambda: unpack_model(compressor, decode(content)), len(content))
        if found is not None:
            spec_of(found)

    check()


@pytest.mark.parametrize("name", COMPRESSORS)
def test_a_compressed_update_is_unpacked_or_refused_whatever_its_values_are(name: str) -> None:
    compressor = load_compressor(name)
    assert isinstance(compressor, Compressor)
    update = {key: values + np.ones((), values.dtype) for key, values in MODEL.items()}
    packed = pack_update(compressor, MODEL, update).arrays
    spec = packed_spec(compressor, spec_of(MODEL))
    sizes = {key: entry.size_bytes for key, entry in spec.items()}

    @SOME
    @given(mutated(st.just(b"".join(packed[key].tobytes() for key in spec))))
    def check(values: bytes) -> None:
        # Given values of the lengths that the update's arrays have
        content, start = {}, 0
        for key, entry in spec.items():
            piece = values[start : start + sizes[key]].ljust(sizes[key], b"\xff")
            content[key] = np.frombuffer(piece, entry.numpy_dtype).reshape(entry.shape)
            start += sizes[key]
        # When the orchestrator unpacks them, then it has an array for each of the model's, of its shape and dtype
        found = read(lambda: dict(unpack_update(compressor, content, MODEL, spec_of(MODEL))), len(values))
        if found is not None:
            assert spec_of(found) == spec_of(MODEL)

    check()


@pytest.mark.parametrize("compression", ["none", "int8", "topk:0.2"])
def test_an_update_is_taken_in_or_rejected_whatever_is_in_it(tmp_path: Path, compression: str) -> None:
    # Given a run whose first round is open
    folder = RunFolder.create(tmp_path / "run", run_config(compression=compression))
    write_file(folder.checkpoint(0), MODEL)
    store, compressor, order = MemoryChunks(), load_compressor(compression), train_order()
    job = job_of(folder, store)
    right = pack_update(compressor, MODEL, MODEL).arrays if compressor else MODEL

    @SOME
    @given(nearly_arrays(whole(right)))
    def check(content: bytes) -> None:
        # When an update comes that was changed on its way
        ref = publish(store, order.update_blob, [memoryview(content)]) if content else None
        response = trained(order, ref)
        record = read(lambda: take_in(job, response), len(content) + 20_000)
        job.slots().reopen(["anna"])
        # Then it is accepted, or rejected with a reason
        assert record is not None
        assert record.status is Status.TRAINED or record.reason

    check()
