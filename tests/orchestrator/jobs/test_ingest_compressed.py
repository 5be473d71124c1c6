from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from celeriac.compressors import load_compressor
from celeriac.compressors.updates import pack_update
from orchestrator.store.facts import BUFFERS
from orchestrator.store.run_folder import RunFolder
from orchestrator.store.updates import HEADER_SLACK_BYTES
from tasks import arrays
from tasks.arrays import Array, Arrays
from tasks.blobs.blob import publish
from tasks.blobs.chunks import MemoryChunks
from tasks.blobs.in_files import LinkedBlobs
from tasks.messages import Response, Status
from tests.support import job_of, publish_update, run_config, take_in, train_order, trained

ORDER = train_order("anna", round_number=1)
RNG = np.random.default_rng(8)
MODEL = {
    "counter": np.array([1, 2]),
    "mean": np.full(300, 5, np.float32),
    "weights": RNG.standard_normal((30, 40)).astype(np.float32),
}
UPDATE = {
    "counter": np.array([3, 4]),
    "mean": np.full(300, 7, np.float32),
    "weights": MODEL["weights"] + 0.01 * RNG.standard_normal((30, 40)).astype(np.float32),
}
NAMES = ["bf16", "int8", "topk:0.1", "tests.support:HalfPrecision"]
Change = Callable[[dict[str, Array]], None]


def folder_of(path: Path, compression: str, **changes: Any) -> RunFolder:
    folder = RunFolder.create(path / "run", run_config(compression=compression, **changes))
    arrays.write_file(folder.checkpoint(0), MODEL)
    BUFFERS.note(folder, ["mean"])
    return folder


def packed(compression: str, update: Arrays = UPDATE) -> dict[str, Array]:
    compressor = load_compressor(compression)
    assert compressor is not None
    return dict(pack_update(compressor, MODEL, update, {"mean"}).arrays)


def taken_in(folder: RunFolder, chunks: MemoryChunks, sent: Arrays) -> tuple[Status, str, int]:
    """Take in what was sent; return status, reason and bytes."""
    response = trained(ORDER, publish_update(chunks, ORDER, sent))
    record = take_in(job_of(folder, chunks), response)
    assert chunks.chunks == {}
    assert response.update is not None
    assert record.digest == response.update.digest
    left = sorted(path.name for path in folder.updates(1).iterdir())
    kept = [] if record.status is Status.REJECTED else ["anna.packed", "anna.safetensors"]
    assert left == [*kept, "slots.jsonl"]
    return record.status, record.reason, record.size_bytes


@pytest.mark.parametrize("compression", NAMES)
def test_a_compressed_update_becomes_one_of_full_precision(tmp_path: Path, compression: str) -> None:
    # Given an update that came compressed
    folder, sent = folder_of(tmp_path, compression), packed(compression)
    status, reason, size_bytes = taken_in(folder, MemoryChunks(), sent)
    # When it was taken in, then it is a file like any other, byte for byte as the codec writes it
    assert (status, reason) == (Status.TRAINED, "")
    path = folder.update(1, "anna")
    found = arrays.map_file(path)
    assert arrays.spec_of(found) == arrays.spec_of(MODEL)
    assert path.read_bytes() == b"".join(arrays.encode(found))
    # And is the model and what was sent; the buffer and the counter are the client's
    np.testing.assert_allclose(found["weights"], UPDATE["weights"], atol=0.05)
    assert np.abs(found["weights"] - MODEL["weights"]).max() > 0.01
    assert found["counter"].tolist() == [3, 4]
    np.testing.assert_allclose(found["mean"], UPDATE["mean"], rtol=1e-2)
    # And the record has the bytes that travelled
    assert size_bytes == arrays.encoded_size(arrays.spec_of(sent))


def test_what_goes_with_an_update_comes_out_with_it(tmp_path: Path) -> None:
    # Given an algorithm that sends a set of arrays, and a compression that sends it in eight bits
    folder = folder_of(tmp_path, "int8", algorithm="scaffold")
    beside = {f"@c/{name}": np.ones_like(values) for name, values in MODEL.items() if name != "counter"}
    status, reason, _ = taken_in(folder, MemoryChunks(), packed("int8", {**UPDATE, **beside}))
    # When it is taken in, then the set is there
    assert (status, reason) == (Status.TRAINED, "")
    np.testing.assert_allclose(arrays.map_file(folder.update(1, "anna"))["@c/weights"], np.ones((30, 40)))


def changed(**values: Any) -> Change:
    return lambda sent: sent.update({name.replace("__", ":"): found for name, found in values.items()})


def without(name: str) -> Change:
    def change(sent: dict[str, Array]) -> None:
        del sent[name]

    return change


@pytest.mark.parametrize(
    ("compression", "change", "reason"),
    [
        ("int8", without("delta:scales:weights"), "missing 'delta:scales:weights'"),
        ("int8", changed(weights=UPDATE["weights"]), "unknown 'weights'"),
        ("int8", changed(delta__values__weights=np.zeros(1200, np.int8)), "is I8 (1200,), the model's is I8 (30, 40)"),
        ("int8", changed(delta__scales__weights=np.ones(5)), "is F64 (5,), the model's is F32 (5,)"),
        ("int8", changed(delta__scales__weights=np.full(5, np.inf, np.float32)), "NaN or infinite"),
        ("int8", changed(delta__scales__weights=np.full(5, 3e38, np.float32)), "array 'weights' has values that are"),
        ("int8", changed(beside__scales__mean=np.full(2, np.nan, np.float32)), "NaN or infinite"),
        ("bf16", changed(delta__values__weights=np.full((30, 40), 0x7F80, np.uint16)), "array 'weights' has values"),
        ("bf16", changed(beside__values__mean=np.full(300, 0xFFFF, np.uint16)), "array 'mean' has values that are"),
        ("topk:0.1", changed(delta__moves=np.zeros(479, np.uint8)), "is U8 (479,), the model's is U8 (480,)"),
        ("topk:0.1", changed(delta__moves=np.zeros(480, np.uint16)), "is U16 (480,), the model's is U8 (480,)"),
        ("topk:0.1", changed(delta__moves=np.full(480, 3, np.uint8)), "'moves' keeps a value beyond the 1200 that"),
        ("topk:0.1", changed(delta__sizes=np.full(1, np.nan, np.float32)), "NaN or infinite"),
        ("topk:0.1", changed(beside__mean=np.full(300, np.nan, np.float32)), "NaN or infinite"),
        ("tests.support:HalfPrecision:raising", lambda _: None, "it can't be decompressed: ZeroDivisionError: no luck"),
    ],
)
def test_what_the_compressor_cant_have_made_is_rejected(
    tmp_path: Path, compression: str, change: Change, reason: str
) -> None:
    # Given an update with something that doesn't belong there, or isn't there, or isn't a number
    sent = packed(compression.removesuffix(":raising"))
    change(sent)
    # When it is taken in, then it is rejected, and nothing else happens
    status, told, _ = taken_in(folder_of(tmp_path, compression), MemoryChunks(), sent)
    assert status is Status.REJECTED
    assert reason in told


def test_an_update_that_isnt_compressed_is_rejected_where_it_should_be_and_the_other_way_round(tmp_path: Path) -> None:
    status, told, _ = taken_in(folder_of(tmp_path / "a", "topk:0.1"), MemoryChunks(), UPDATE)
    assert (status, "unknown 'counter', 'mean', 'weights'" in told) == (Status.REJECTED, True)
    status, told, _ = taken_in(folder_of(tmp_path / "b", "none"), MemoryChunks(), packed("topk:0.1"))
    assert (status, "missing 'counter', 'mean', 'weights'" in told) == (Status.REJECTED, True)


@pytest.mark.parametrize("compression", NAMES)
def test_how_long_an_update_may_be_follows_from_its_compression(tmp_path: Path, compression: str) -> None:
    # Given a blob a byte longer than a compressed update and what a header may take
    folder, chunks = folder_of(tmp_path, compression), MemoryChunks()
    most = arrays.encoded_size(arrays.spec_of(packed(compression))) + HEADER_SLACK_BYTES
    blob = publish(chunks, "fl:blob:update/anna/run/1", [memoryview(bytes(most + 1))])
    # When it is taken in, then both sizes are told
    response: Response = trained(ORDER, blob)
    record = take_in(job_of(folder, chunks), response)
    assert record.reason == f"the update has {most + 1} bytes, {most} are allowed for this model"


def test_files_of_a_round_are_written_over_by_the_next_one_s(tmp_path: Path) -> None:
    # Given an update that came compressed, in a folder that both sides have, and whose round is over
    (tmp_path / "blobs").mkdir()
    store, folder = LinkedBlobs(tmp_path / "blobs"), folder_of(tmp_path, "int8")
    files = folder.files_of_update(1, "anna")

    def take(update: Arrays) -> list[int]:
        response = trained(ORDER, publish(store, ORDER.update_blob, arrays.encode(packed("int8", update))))
        assert take_in(job_of(folder, store), response).status is Status.TRAINED
        return [path.stat().st_ino for path in files]

    inodes = take(UPDATE)
    folder.discard_updates(store.recycle)
    # When another comes, then it lies in the same two files, and is what it would be in new ones
    other = {**UPDATE, "weights": UPDATE["weights"] + 1}
    assert take(other) == inodes
    content = [path.read_bytes() for path in files]
    folder.discard_updates()
    take(other)
    assert [path.read_bytes() for path in files] == content
