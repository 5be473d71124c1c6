from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from celeriac.compressors import load_compressor
from celeriac.compressors.updates import pack_update
from orchestrator.jobs import ingest
from orchestrator.jobs.ingest import ingest_responses
from orchestrator.store import facts
from orchestrator.store.records import SlotRecord
from orchestrator.store.run_folder import RunFolder
from orchestrator.store.slot_records import SlotRecords
from orchestrator.store.updates import HEADER_SLACK_BYTES
from tasks import arrays, results
from tasks.arrays import Arrays
from tasks.blobs.blob import BlobRef, publish
from tasks.blobs.chunks import MemoryChunks, Wanted
from tasks.blobs.in_files import LinkedBlobs
from tasks.digests import digest_of_file
from tasks.errors import StoreAwayError
from tasks.messages import Order, Response, Status
from tasks.results import Result
from tests.support import job_of, publish_update, run_config, survey_order, surveyed, take_in, train_order, trained

MODEL: Arrays = {"bias": np.zeros(2, np.float32), "weights": np.zeros((2, 3))}
UPDATE = {"bias": np.array([1, 2], np.float32), "weights": np.full((2, 3), 0.5)}
ORDER = train_order("anna", round_number=1)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder.create(tmp_path / "run", run_config())
    arrays.write_file(folder.checkpoint(0), MODEL)
    return folder


def sent(chunks: MemoryChunks, parameters: arrays.Arrays) -> Response:
    return trained(ORDER, publish_update(chunks, ORDER, parameters))


def raw(chunks: MemoryChunks, data: bytes) -> Response:
    return trained(ORDER, publish(chunks, "fl:blob:update/anna/run/1", [memoryview(data)]))


def rejection(folder: RunFolder, chunks: MemoryChunks, response: Response) -> str:
    """Take in what must be rejected; return the reason. Nothing of it is left but the record."""
    record = take_in(job_of(folder, chunks), response)
    assert record.status is Status.REJECTED
    assert not folder.update(1, "anna").exists()
    assert chunks.chunks == {}
    assert record == take_in(job_of(folder, chunks), response)
    return record.reason


def test_a_good_update_is_moved_into_the_folder(folder: RunFolder, chunks: MemoryChunks) -> None:
    # Given an update in the store
    response = sent(chunks, UPDATE)
    assert response.update is not None
    # When it is taken in
    record = take_in(job_of(folder, chunks), response)
    # Then it lies in the folder and not in the store, and the record says what the client said
    found = arrays.map_file(folder.update(1, "anna"))
    assert {name: values.tolist() for name, values in found.items()} == {
        "bias": [1.0, 2.0],
        "weights": [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]],
    }
    assert chunks.chunks == {}
    assert record == SlotRecord(
        status=Status.TRAINED,
        num_examples=5,
        num_steps=10,
        size_bytes=response.update.size_bytes,
        digest=response.update.digest,
        lengths={"parameters": 2.54951},  # 1 + 2² + 6 * 0.5² = 6.5
    )


def test_an_update_is_taken_in_once_however_often_it_is_asked_for(folder: RunFolder, chunks: MemoryChunks) -> None:
    # Given an update that was taken in
    response = sent(chunks, UPDATE)
    first = take_in(job_of(folder, chunks), response)
    # When it is asked for again, with other bytes in the store and other numbers in the answer
    again = sent(chunks, MODEL).model_copy(update={"num_examples": 999})
    second = take_in(job_of(folder, chunks), again)
    # Then the record and the file are what they were, and the store is empty
    assert second == first
    assert arrays.map_file(folder.update(1, "anna"))["bias"].tolist() == [1.0, 2.0]
    assert chunks.chunks == {}


def test_an_update_that_was_half_taken_in_is_taken_in_anew(folder: RunFolder, chunks: MemoryChunks) -> None:
    # Given what a worker left that was killed: half a file, and a record that is none
    folder.updates(1).mkdir(parents=True)
    (folder.updates(1) / "anna.tmp").write_bytes(b"half")
    folder.slots(1).write_text("{")
    # When the update is taken in, then it is whole
    record = take_in(job_of(folder, chunks), sent(chunks, UPDATE))
    assert record.status is Status.TRAINED
    assert arrays.map_file(folder.update(1, "anna"))["bias"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("status", [Status.FAILED, Status.LOST, Status.REJECTED, Status.LATE])
def test_an_answer_without_an_update_is_a_record_alone(folder: RunFolder, chunks: MemoryChunks, status: Status) -> None:
    # Given an answer without an update
    response = Response(order_id=ORDER.order_id, client_id="anna", status=status, reason="so it is")
    # When it is taken in, then its status and reason are kept
    assert take_in(job_of(folder, chunks), response) == SlotRecord(status=status, reason="so it is")
    assert [path.name for path in folder.updates(1).iterdir()] == ["slots.jsonl"]


def test_the_updates_of_clients_with_similar_ids_are_kept_apart(folder: RunFolder, chunks: MemoryChunks) -> None:
    # Given clients whose ids differ after a dot
    names = ["anna", "anna.b", "anna.json", "anna.safetensors"]
    for index, client_id in enumerate(names):
        order = train_order(client_id)
        update = {**UPDATE, "bias": np.full(2, index, np.float32)}
        # When their updates are taken in
        take_in(job_of(folder, chunks), trained(order, publish_update(chunks, order, update)))
    # Then each has its own
    assert [arrays.map_file(folder.update(1, name))["bias"][0] for name in names] == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("update", "said", "reason"),
    [
        ({"bias": UPDATE["bias"]}, {}, "array names differ from the model's: missing 'weights'"),
        ({**UPDATE, "more": np.zeros(1)}, {}, "array names differ from the model's: unknown 'more'"),
        ({**UPDATE, "bias": np.zeros(3, np.float32)}, {}, "array 'bias' is F32 (3,), the model's is F32 (2,)"),
        ({**UPDATE, "bias": np.zeros(2)}, {}, "array 'bias' is F64 (2,), the model's is F32 (2,)"),
        ({**UPDATE, "weights": np.full((2, 3), np.nan)}, {}, "array 'weights' has values that are NaN or infinite"),
        (UPDATE, {"num_examples": 0}, "it claims to be trained on no examples"),
        (UPDATE, {"num_steps": 0}, "it claims to be trained in no steps"),
    ],
)
def test_an_update_that_isnt_like_the_model_or_that_nothing_went_into_is_rejected(
    folder: RunFolder, chunks: MemoryChunks, update: arrays.Arrays, said: dict[str, int], reason: str
) -> None:
    # Given an update with other names, shapes, dtypes, with NaN, or by whose examples or steps nothing can be divided
    response = sent(chunks, update).model_copy(update=said)
    # When it is taken in, then the record says why not
    assert rejection(folder, chunks, response) == reason


def kept_answer(folder: RunFolder, order: Order) -> Response | None:
    record = SlotRecords(folder.slots(order.round_number, order.name)).get(order.client_id)
    return record.response(order) if record else None


def document(header: object, body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"\0" * 8,
        b"{}" * 50,
        b"\x02" + bytes(7) + b"{}trailing",
        document({"bias": {"dtype": "F32", "shape": [0, 2**62, 2**62], "data_offsets": [0, 0]}}, b""),
        document({"bias": {"dtype": "F32", "shape": [1] * 65, "data_offsets": [0, 4]}}, b"abcd"),
    ],
)
def test_bytes_that_are_no_arrays_or_none_that_numpy_can_make_are_rejected(
    folder: RunFolder, chunks: MemoryChunks, data: bytes
) -> None:
    # Given a blob of something else, or with a shape that no array has, when it is taken in, then it is rejected
    assert rejection(folder, chunks, raw(chunks, data)) != ""


def test_an_update_much_longer_than_the_model_is_rejected_unread(folder: RunFolder, chunks: MemoryChunks) -> None:
    # Given a blob a byte longer than the model's file and what a header may take
    model_bytes = folder.checkpoint(0).stat().st_size
    response = raw(chunks, bytes(model_bytes + HEADER_SLACK_BYTES + 1))
    # When it is taken in, then both sizes are told
    assert rejection(folder, chunks, response) == (
        f"the update has {model_bytes + 65_537} bytes, {model_bytes + 65_536} are allowed for this model"
    )


def test_a_header_much_longer_than_the_models_is_rejected_unread(folder: RunFolder, chunks: MemoryChunks) -> None:
    # Given a model of 1 MB whose header takes 80 bytes, and an update of the same length that is nearly all header
    arrays.write_file(folder.checkpoint(0), {"weights": np.zeros(250_000, np.float32)})
    model_bytes = folder.checkpoint(0).stat().st_size
    length = model_bytes - 8
    text = b"[" + b"[]," * ((length - 5) // 3) + b"[]]"
    response = raw(chunks, length.to_bytes(8, "little") + text.ljust(length))
    # When it is taken in, then it is rejected before it becomes hundreds of thousands of lists
    header_bytes = len(arrays.encode_header({"weights": arrays.ArraySpec("F32", (250_000,))}))
    assert rejection(folder, chunks, response) == (
        f"the header has {length} bytes: {header_bytes + HEADER_SLACK_BYTES} are allowed"
    )


def test_a_blob_that_isnt_there_is_rejected(folder: RunFolder, chunks: MemoryChunks) -> None:
    # Given an answer whose update is gone
    response = sent(chunks, UPDATE)
    chunks.chunks.clear()
    # When it is taken in, then the record says so
    assert rejection(folder, chunks, response) == "blob 'fl:blob:update/anna/run/1': chunk 1 of 1 is missing"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[:-1], "chunk 1 has 183 bytes instead of 184"),
        (lambda data: data + b"x", "chunk 1 has 185 bytes instead of 184"),
        (lambda data: data[:-1] + b"x", "its bytes don't match their digest"),
    ],
    ids=["cut", "longer", "changed"],
)
def test_a_damaged_blob_is_rejected(
    folder: RunFolder, chunks: MemoryChunks, damage: Callable[[bytes], bytes], reason: str
) -> None:
    # Given an update of 8 + 120 + 56 bytes that was cut, made longer, or changed on its way
    response = sent(chunks, UPDATE)
    [name] = chunks.chunks
    chunks.chunks[name] = damage(chunks.chunks[name])
    # When it is taken in, then the record says so
    assert rejection(folder, chunks, response) == f"blob 'fl:blob:update/anna/run/1': {reason}"


def test_an_update_laid_out_otherwise_is_taken_in(folder: RunFolder, chunks: MemoryChunks) -> None:
    # Given a header with metadata and the arrays in another order
    header = {
        "__metadata__": {"format": "pt"},
        "weights": {"dtype": "F64", "shape": [2, 3], "data_offsets": [0, 48]},
        "bias": {"dtype": "F32", "shape": [2], "data_offsets": [48, 56]},
    }
    body = np.full(6, 0.25).tobytes() + np.array([3, 4], np.float32).tobytes()
    # When it is taken in, then it is as good as any
    record = take_in(job_of(folder, chunks), raw(chunks, document(header, body)))
    assert record.status is Status.TRAINED
    assert arrays.map_file(folder.update(1, "anna"))["bias"].tolist() == [3.0, 4.0]


def test_what_was_taken_in_stands_in_for_the_answer(folder: RunFolder, chunks: MemoryChunks) -> None:
    # Given an order to which nothing has come, and one whose update was taken in
    assert kept_answer(folder, ORDER) is None
    response = sent(chunks, UPDATE).model_copy(update={"metrics": {"train_loss": 0.5}})
    first = take_in(job_of(folder, chunks), response)
    # When one asks what was kept, then it answers the order, and taking that in changes nothing
    kept = kept_answer(folder, ORDER)
    assert kept is not None
    assert (kept.order_id, kept.client_id, kept.status) == ("client/anna/run/1/train", "anna", Status.TRAINED)
    assert (kept.num_examples, kept.num_steps, kept.metrics) == (5, 10, {"train_loss": 0.5})
    assert take_in(job_of(folder, chunks), kept) == first
    assert kept_answer(folder, train_order("anna", round_number=2)) is None


class CountingChunks(MemoryChunks):
    """Counts the names that are to be forgotten."""

    num_deleted = 0

    def delete(self, names: Iterable[str]) -> None:
        self.num_deleted += len(list(names))


def test_a_blob_that_claims_to_be_huge_makes_no_work(folder: RunFolder) -> None:
    # Given an answer that claims a blob of 1 TiB in half a million chunks, for a model of 160 bytes
    chunks = CountingChunks()
    claimed = BlobRef(name="fl:blob:update/anna/run/1", size_bytes=2**40, digest="0" * 64)
    # When it is taken in
    record = take_in(job_of(folder, chunks), trained(ORDER, claimed))
    # Then it is rejected, without a million names to be forgotten
    assert record.status is Status.REJECTED
    assert chunks.num_deleted < 1000


Killed = tuple[RunFolder, LinkedBlobs, list[Response]]
"""The folder of a run, its store, and answers whose updates a worker has taken that was killed then."""


@pytest.fixture(params=["none", "int8"])
def killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Killed:
    folder = RunFolder.create(tmp_path / "run", run_config(compression=request.param))
    arrays.write_file(folder.checkpoint(0), MODEL)
    store, compressor = LinkedBlobs(tmp_path / "blobs"), load_compressor(request.param)
    (tmp_path / "blobs").mkdir()
    update = pack_update(compressor, MODEL, UPDATE).arrays if compressor else UPDATE
    responses = [trained(order, publish_update(store, order, update)) for order in map(train_order, ("anna", "bert"))]
    with monkeypatch.context() as patch:
        patch.setattr(SlotRecords, "add", raising(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ingest_responses(job_of(folder, store), responses)
    return folder, store, responses


def test_what_a_killed_worker_had_taken_from_the_store_is_taken_in_by_the_next(killed: Killed) -> None:
    # Given updates that aren't in the store any more, and of which no record was kept
    folder, store, responses = killed
    assert not any(store.has(response.update) for response in responses if response.update)
    # When their task is carried out by another, then they are taken in, and lie where they belong
    records = ingest_responses(job_of(folder, store), responses)
    assert {name: record.status for name, record in records.items()} == dict.fromkeys(("anna", "bert"), Status.TRAINED)
    came = ["packed", "safetensors"] if job_of(folder).compressor else ["safetensors"]
    names = sorted(path.name for path in folder.updates(1).iterdir())
    assert names == [*(f"{client_id}.{kind}" for client_id in records for kind in came), "slots.jsonl"]
    np.testing.assert_allclose(job_of(folder, store).update("bert")["weights"], UPDATE["weights"], atol=0.05)


def test_who_finds_that_another_has_cleared_up_agrees_with_it(killed: Killed, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an update that two take in, of whom one is done with it at any moment
    folder, store, [response, _] = killed
    others: list[SlotRecord] = []

    def overtaken(path: Path) -> str:
        with monkeypatch.context() as patch:
            patch.setattr(ingest, "digest_of_file", digest_of_file)
            others.append(take_in(job_of(folder, store), response))
        return digest_of_file(path)

    # When it is taken in here too, then both say the same
    monkeypatch.setattr(ingest, "digest_of_file", overtaken)
    assert [take_in(job_of(folder, store), response)] == others
    assert others[0].status is Status.TRAINED
    np.testing.assert_allclose(job_of(folder, store).update("anna")["weights"], UPDATE["weights"], atol=0.05)


def raising(error: type[BaseException]) -> Callable[..., None]:
    """What raises, however it is called."""

    def fail(*_: object) -> None:
        raise error

    return fail


def test_a_store_that_stays_away_is_no_client_s_fault(folder: RunFolder, chunks: MemoryChunks) -> None:
    # Given an update in a store that can't be asked
    response = sent(chunks, UPDATE)

    class Away(MemoryChunks):
        def receive(self, wanted: Sequence[Wanted]) -> Iterator[int | None]:
            raise StoreAwayError("bucket s3://updates: it stays away")

    # When it is to be taken in, then the task fails, and no record says anything of the client
    with pytest.raises(StoreAwayError):
        take_in(job_of(folder, Away()), response)
    assert job_of(folder, chunks).record("anna") is None
    # And when the store is back, it is taken in
    assert take_in(job_of(folder, chunks), response).status is Status.TRAINED


def test_two_that_take_an_update_in_at_the_same_time_agree(folder: RunFolder, chunks: MemoryChunks) -> None:
    # Given an update that another process takes in just before it is read here, as its task was sent again
    response = sent(chunks, UPDATE)
    others = []

    class Overtaken(MemoryChunks):
        def receive(self, wanted: Sequence[Wanted]) -> Iterator[int | None]:
            others.append(take_in(job_of(folder, chunks), response))
            return chunks.receive(wanted)

    # When it is taken in, then both say the same, now and later, and it is there
    record = take_in(job_of(folder, Overtaken()), response)
    assert others == [record]
    assert record.status is Status.TRAINED
    assert take_in(job_of(folder, chunks), response) == record
    assert folder.update(1, "anna").exists()


SURVEY = survey_order("anna", round_number=1)
GRADIENT = {"@c/bias": np.array([1, 2], np.float32), "@c/weights": np.full((2, 3), 0.5)}


def asked(chunks: MemoryChunks, sets: arrays.Arrays, **changes: object) -> Response:
    return surveyed(SURVEY, publish_update(chunks, SURVEY, sets), **changes)


@pytest.fixture
def mime(tmp_path: Path) -> RunFolder:
    folder = RunFolder.create(tmp_path / "mime", run_config(algorithm="mime"))
    arrays.write_file(folder.checkpoint(0), MODEL)
    return folder


def test_what_a_first_exchange_brings_is_the_sets_alone_and_lies_apart(mime: RunFolder, chunks: MemoryChunks) -> None:
    # Given a gradient in the store, and an update of the same client
    gradient = take_in(job_of(mime, chunks), asked(chunks, GRADIENT), exchange="survey")
    update = take_in(job_of(mime, chunks), sent(chunks, UPDATE))
    # When both are taken in, then neither is in the other's way, and each is found again by its order
    assert (gradient.status, update.status) == (Status.SURVEYED, Status.TRAINED)
    assert sorted(arrays.map_file(mime.update(1, "anna", "survey"))) == ["@c/bias", "@c/weights"]
    assert sorted(arrays.map_file(mime.update(1, "anna"))) == ["bias", "weights"]
    kept = [kept_answer(mime, order) for order in (SURVEY, ORDER)]
    assert [response and response.status for response in kept] == [Status.SURVEYED, Status.TRAINED]
    assert chunks.chunks == {}


@pytest.mark.parametrize(
    ("sets", "changes", "reason"),
    [
        ({**GRADIENT, "@c/bias": np.array([1, np.nan], np.float32)}, {}, "array '@c/bias' has values that are NaN"),
        ({"@c/bias": GRADIENT["@c/bias"]}, {}, "missing '@c/weights'"),
        ({**GRADIENT, "@c/weights": np.full((3, 2), 0.5)}, {}, "'@c/weights'"),
        ({**GRADIENT, "@c/weights": np.full((2, 3), 0.5, np.float32)}, {}, "'@c/weights'"),
        ({**GRADIENT, "@d/bias": np.zeros(20_000)}, {}, "are allowed for this model"),
        (UPDATE, {}, "missing '@c/bias', '@c/weights'"),
        (GRADIENT, {"num_examples": 0}, "no examples"),
    ],
)
def test_a_hostile_gradient_is_rejected(
    mime: RunFolder, chunks: MemoryChunks, sets: arrays.Arrays, changes: dict[str, object], reason: str
) -> None:
    # Given something else than the gradients that were asked for
    record = take_in(job_of(mime, chunks), asked(chunks, sets, **changes), exchange="survey")
    # When it is taken in, then it is rejected, and nothing is left of it
    assert record.status is Status.REJECTED
    assert reason in record.reason
    assert not mime.update(1, "anna", "survey").exists()
    assert chunks.chunks == {}


DECLARED = {
    "hessian": Result("sum", shape=(2, 2)),
    "trees": Result("concat", shape=(None,), dtype="uint8", max_bytes=100),
}
RESULTS: Arrays = {"hessian": np.eye(2), "trees": np.arange(60, dtype=np.uint8)}


@pytest.fixture
def declaring(folder: RunFolder) -> RunFolder:
    """A folder of a run whose workload declares results."""
    facts.RESULTS.note(folder, DECLARED)
    return folder


def test_results_are_taken_in_beside_the_parameters(declaring: RunFolder, chunks: MemoryChunks) -> None:
    # Given an update with all that is declared, when it is taken in, then the parameters are judged without it
    record = take_in(job_of(declaring, chunks), sent(chunks, results.join(UPDATE, RESULTS)))
    assert (record.status, record.lengths) == (Status.TRAINED, {"parameters": 2.54951})
    # And each part is found by itself
    job = job_of(declaring, chunks)
    assert sorted(job.update("anna")) == sorted(UPDATE)
    found = job.results_of("anna")
    assert {name: values.tolist() for name, values in found.items()} == {
        "hessian": [[1.0, 0.0], [0.0, 1.0]],
        "trees": list(range(60)),
    }


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"hessian": np.eye(2, dtype=np.float32)}, "result 'hessian' is float32 (2, 2): float64 (2, 2) is declared"),
        ({"hessian": np.eye(3)}, "result 'hessian' is float64 (3, 3): float64 (2, 2) is declared"),
        ({"hessian": np.full((2, 2), np.nan)}, "result 'hessian' has values that are NaN or infinite"),
        ({"trees": np.zeros(101, np.uint8)}, "result 'trees' has 101 bytes: 100 are allowed (max_bytes)"),
        ({"trees": np.zeros((1, 10), np.uint8)}, "result 'trees' is uint8 (1, 10): uint8 (any,) is declared"),
        ({"more": np.zeros(1)}, "result 'more' isn't declared: hessian, trees are"),
        ({"hessian": None}, "result 'hessian' is missing"),
    ],
)
def test_an_update_is_rejected_whose_results_arent_as_declared(
    declaring: RunFolder, chunks: MemoryChunks, wrong: dict[str, arrays.Array | None], reason: str
) -> None:
    # Given a client that doesn't look at what it sends, when its update is taken in, then it is rejected for that
    given = {name: values for name, values in {**RESULTS, **wrong}.items() if values is not None}
    assert rejection(declaring, chunks, sent(chunks, results.join(UPDATE, given))) == reason


def test_results_may_be_longer_than_the_model_by_far(folder: RunFolder, chunks: MemoryChunks) -> None:
    # Given a result of several of the blob store's chunks, beside a model of some bytes
    facts.RESULTS.note(folder, {"trees": Result("concat", shape=(None,), dtype="uint8", max_bytes=5 * 10**6)})
    trees = {"trees": np.ones(5 * 10**6, np.uint8)}
    # When it is taken in, then it counts, and nothing of it is left in the blob store
    record = take_in(job_of(folder, chunks), sent(chunks, results.join(UPDATE, trees)))
    assert (record.status, record.reason) == (Status.TRAINED, "")
    assert chunks.chunks == {}


def test_an_update_that_carries_too_much_isnt_read(declaring: RunFolder, chunks: MemoryChunks) -> None:
    # Given an update with a result that is longer than all that is allowed, when it is taken in
    reason = rejection(declaring, chunks, sent(chunks, results.join(UPDATE, {"trees": np.zeros(10**6, np.uint8)})))
    # Then it is rejected by its size
    assert re.fullmatch(r"the update has 1000\d+ bytes, \d+ are allowed for this model", reason)


def test_results_of_a_run_that_declares_none_are_rejected(folder: RunFolder, chunks: MemoryChunks) -> None:
    reason = rejection(folder, chunks, sent(chunks, results.join(UPDATE, {"trees": np.zeros(1, np.uint8)})))
    assert reason == "result 'trees' isn't declared: none is"
