"""Models and updates in a bucket of a real object store, beside the broker."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from redis import Redis

from tasks.blobs import in_s3, s3_bucket
from tasks.blobs.blob import describe, publish
from tasks.blobs.in_s3 import S3Blobs
from tasks.blobs.stores import open_store
from tasks.errors import BlobError, ConfigurationError, StoreAwayError
from tests.integration import harness
from tests.integration.harness import PASSWORD, Field, Program, check_trained_once, history, part, watched
from tests.integration.object_store import BUCKET, ObjectStore, object_store

MIB = 2**20
IN_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
from tasks.blobs.blob import BlobRef
from tasks.blobs.in_s3 import S3Blobs

store, ref = S3Blobs(sys.argv[1], ""), BlobRef.model_validate_json(sys.argv[2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store.put_file(ref, Path(sys.argv[3]))
store.take_file(ref, Path(sys.argv[4]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def command_lines(program: Program) -> Iterator[str]:
    """The words of the command lines of a program's processes, as ``ps`` shows them to everybody."""
    for process in (psutil.Process(program.process.pid), *program.descendants()):
        with suppress(psutil.NoSuchProcess):
            yield from process.cmdline()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """An object store, which the environment names."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with object_store(tmp_path / "buckets") as started:
        for name, value in started.environment.items():
            monkeypatch.setenv(name, value)
        yield started


def test_a_bucket_carries_models_and_updates(
    field: Field, broker: Redis, server: ObjectStore, tmp_path: Path, counted: None
) -> None:
    # Given a run whose models and updates are in a bucket, and clients, one of which forks its processes when all that
    # it has is loaded
    run_dir, url, seen = tmp_path / "run", server.url("study/one"), set[bytes]()
    environments = [{**part(n, 3), "CLIENT_BLOBS": url} for n in (1, 2, 3)]
    environments[0]["CLIENT_START_METHOD"] = "fork"
    clients = [
        field.client(broker, f"client-{n}", python=harness.PYTHON, **each) for n, each in enumerate(environments, 1)
    ]
    # When they train
    with watched(lambda: seen.update(broker.scan_iter("fl:blob:*"))):
        program = field.run(run_dir, "--rounds 2 --clients 3", f"--blobs {url}", broker=broker, python=harness.PYTHON)
        program.worker("*worker*")
        shown = [word for each in (program, *clients) for word in command_lines(each)]
        program.succeeds()
    # Then the model is that of clients in one process, to the last bit
    check_trained_once(clients, 2)
    assert harness.checkpoint(run_dir, 2) == harness.checkpoint(harness.undisturbed(tmp_path, rounds=2, clients=3), 2)
    # And nothing of it was at the broker, or is left in the bucket, but the word that tells it from others
    assert seen == set()
    assert server.objects() == ["study/one/.identity"]
    # And no command line showed the secret, which no log and no record of the run has either
    assert url in shown
    assert not any(PASSWORD in word for word in shown)


def test_a_run_outlives_a_store_that_is_killed_and_started_again(
    field: Field, broker: Redis, server: ObjectStore, tmp_path: Path
) -> None:
    # Given a run over a bucket
    url, run_dir = server.url(), tmp_path / "run"
    clients = field.clients(broker, 2, CLIENT_BLOBS=url)
    program = field.run(run_dir, "--rounds 20 --clients 2", f"--blobs {url}", broker=broker)
    # When its server is killed between two rounds, or within one, and started again
    harness.wait_until(lambda: history(run_dir), "a round is closed")
    server.kill()
    starting = threading.Timer(2, server.start)
    starting.start()
    program.succeeds()
    starting.join()
    # Then it ends as if nothing had been
    check_trained_once(clients, 20)
    assert harness.checkpoint(run_dir, 20) == harness.checkpoint(harness.undisturbed(tmp_path, rounds=20), 20)


NO_BUCKET = "NoSuchBucket: The specified bucket does not exist"
NO_KEY = "InvalidAccessKeyId: The Access Key Id you provided does not exist in our records."
NO_SECRET = "SignatureDoesNotMatch: The request signature we calculated does not match the signature you provided."
NOBODY = "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
NOWHERE = "http://127.0.0.1:1"
WRONG = {
    "bucket": ("s3://nobody-s", {}, f"the bucket can't be used: {NO_BUCKET}"),
    "key": (f"s3://{BUCKET}", {"AWS_ACCESS_KEY_ID": "other"}, f"the bucket can't be used: {NO_KEY}"),
    "secret": (f"s3://{BUCKET}", {"AWS_SECRET_ACCESS_KEY": "other"}, f"the bucket can't be used: {NO_SECRET}"),
    "server": (f"s3://{BUCKET}", {"AWS_ENDPOINT_URL": NOWHERE}, "the bucket can't be used: HTTP error: error sending"),
    "address": (f"s3://{BUCKET}", {"AWS_ENDPOINT_URL": "nowhere"}, "the bucket can't be used: pyo3_runtime.PanicExc"),
    "nobody": (
        f"s3://{BUCKET}",
        {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_METADATA_ENDPOINT": NOWHERE},
        f"the bucket can't be used: {NOBODY}",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_bucket_that_wont_do_is_told_at_the_start(
    server: ObjectStore, monkeypatch: pytest.MonkeyPatch, counted: None, what: str
) -> None:
    # Given a bucket that isn't there, credentials that aren't known, or no server
    url, environment, message = WRONG[what]
    for name, value in environment.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    # When it is opened, then the message names the bucket and the reason, and no secret
    with pytest.raises(ConfigurationError) as caught:
        open_store(url)
    assert str(caught.value).startswith(f"blobs {url!r}: {message}")
    assert PASSWORD not in str(caught.value)


def test_both_sides_end_at_once_with_what_is_wrong(field: Field, broker: Redis, server: ObjectStore) -> None:
    # Given a bucket that isn't there, when orchestrator and client are started with it, then both end with exit code 2
    url = "s3://nobody-s/prefix"
    programs = [
        field.run(field.folder / "run", f"--blobs {url}", broker=broker),
        field.client(broker, "client-1", **part(1, 1), CLIENT_BLOBS=url),
    ]
    for program in programs:
        assert program.wait() == 2
        assert f"error: blobs {url!r}: the bucket can't be used: {NO_BUCKET}" in program.output
        assert "Traceback" not in program.output


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3:///prefix",
        "s3:bucket",
        "s3://b",
        "s3://bucket/../other",
        "s3://bucket/./x",
        "s3://bucket//x",
        "s3://bucket?region=x",
        "s3://bucket#x",
        "s3://bucket:9000/x",
        "s3://bucket/with blank",
        "s3://bucket\n",
    ],
)
def test_a_url_of_no_bucket_is_refused_with_what_is_allowed(url: str) -> None:
    with pytest.raises(ConfigurationError, match="write s3://BUCKET or s3://BUCKET/PREFIX; where the server is"):
        open_store(url)


def test_a_secret_in_a_url_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigurationError, match="write s3://BUCKET") as caught:
        open_store(f"s3://key:{PASSWORD}@bucket/prefix")
    assert PASSWORD not in str(caught.value)


def test_without_the_library_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given no obstore, when a bucket is named, then the message says what it takes
    monkeypatch.delitem(sys.modules, in_s3.__name__)
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ConfigurationError, match=r"take obstore: pip install 'celeriac\[s3\]'"):
        open_store("s3://bucket")


def test_a_prefix_is_known_by_the_word_that_its_first_user_left(server: ObjectStore) -> None:
    # Given a prefix that was used before, by whatever it is written, and another
    identity = s3_bucket.look(server.url("here"))
    # When their identities are asked for, then they are two, and the same each time
    assert s3_bucket.look(server.url("here/")) == open_store(server.url("here")).identity == identity
    assert s3_bucket.look(server.url("there")) not in (identity, "s3:")
    assert identity == f"s3:{(server.bucket / 'here' / '.identity').read_text()}"


def test_what_is_wrong_is_told_by_the_command_in_a_line(
    server: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a bucket, and another that isn't there, when the command looks, then it writes the one's word or why not
    s3_bucket.main(server.url())
    assert capsys.readouterr().out == s3_bucket.look(server.url())
    with pytest.raises(SystemExit) as caught:
        s3_bucket.main("s3://nobody-s")
    assert caught.value.code == NO_BUCKET


def test_a_large_file_is_carried_in_little_memory(server: ObjectStore, tmp_path: Path) -> None:
    # Given a file of 128 MiB
    here, there, data = tmp_path / "here", tmp_path / "there", os.urandom(128 * MIB)
    here.write_bytes(data)
    ref = describe("fl:blob:model/run/1", [memoryview(data)])
    # When another process puts it into the bucket and makes it a file again
    command = [sys.executable, "-c", IN_LITTLE_MEMORY, server.url(), ref.model_dump_json(), str(here), str(there)]
    environment = {**os.environ, "PYTHONPATH": str(harness.ROOT)}
    grown_kb = int(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    # Then it is whole, and took the memory of a few parts
    assert there.read_bytes() == data
    assert grown_kb < 64 * 1024


def test_blobs_need_no_folders_which_a_server_would_remove_while_one_is_put_there(server: ObjectStore) -> None:
    # Given a store in which blobs of two clients are, whose names have slashes
    store = S3Blobs(server.url("study"), "")
    anna, bert = (publish(store, f"fl:blob:update/{name}/run/1", [memoryview(b"abc")]) for name in ("anna", "bert"))
    # Then their objects are beside each other, and the names are known from their keys
    expected = [f"study/fl:blob:update!{name}!run!1" for name in ("anna", "bert")]
    assert server.objects() == expected
    store.discard_matching(["fl:blob:update/anna/*"])
    assert server.objects() == expected[1:]
    assert (store.has(anna), bytes(store.get(bert))) == (False, b"abc")


def test_a_store_that_goes_silent_is_given_up_in_bounded_time(
    server: ObjectStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Given a blob, and a store that waits for a second, and for an outage of one more
    ref = publish(S3Blobs(server.url(), ""), "fl:blob:update/anna/run/1", [memoryview(b"abc")])
    monkeypatch.setattr(in_s3, "SILENCE_S", 1)
    monkeypatch.setattr(in_s3, "OUTAGE_S", 1)
    store = S3Blobs(server.url(), "")
    # When the server answers no more, then whatever is asked says which bucket it was and why
    server.stop()
    where = rf"bucket {server.url()}: blob.* can't be "
    with pytest.raises(StoreAwayError, match=f"{where}read: HTTP error: error sending request: "):
        store.get(ref)
    with pytest.raises(StoreAwayError, match=f"{where}put there: "):
        publish(store, "fl:blob:update/anna/run/2", [memoryview(bytes(11 * MIB))])
    with pytest.raises(StoreAwayError, match=f"{where}looked for: "):
        store.has(ref)
    with pytest.raises(StoreAwayError, match=f"{where}removed: "):
        store.discard([ref.name], 3)
    with pytest.raises(StoreAwayError, match=f"{where}listed: "):
        store.discard_matching(["fl:blob:*"])


def test_what_a_server_that_is_killed_has_not_answered_is_asked_again(
    server: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a store that has spoken to its server, which is killed, and started again a while after
    store = S3Blobs(server.url(), "")
    ref = publish(store, "fl:blob:update/anna/run/1", [memoryview(b"abc")])
    server.kill()
    starting = threading.Timer(in_s3.BLIP_S + 2, server.start)
    starting.start()
    # When its blob is removed meanwhile, then that is done, and the log says once what was waited for
    store.discard([ref.name], 3)
    starting.join()
    assert not store.has(ref)
    [said] = caplog.messages
    assert said.startswith(f"bucket {server.url()}: blobs can't be removed yet: HTTP error: error sending request: ")


def test_a_file_that_can_t_be_written_here_is_no_fault_of_the_bucket(server: ObjectStore, tmp_path: Path) -> None:
    # Given a blob, when it is to be a file in a folder that isn't there, then it isn't said to be missing
    store = S3Blobs(server.url(), "")
    ref = publish(store, "fl:blob:update/anna/run/1", [memoryview(b"abc")])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        store.take_file(ref, tmp_path / "nowhere" / "file")


def test_of_a_bucket_that_is_gone_it_isnt_said_that_a_blob_is_missing(server: ObjectStore) -> None:
    # Given a store whose bucket is gone, when it is read from or written to, then that is said
    store, ref = S3Blobs("s3://nobody-s", ""), describe("fl:blob:update/anna/run/1", [memoryview(b"abc")])
    with pytest.raises(BlobError, match=f"bucket s3://nobody-s: blob .* can't be read: {NO_BUCKET}"):
        store.get(ref)
    with pytest.raises(BlobError, match=f"bucket s3://nobody-s: blob .* can't be put there: {NO_BUCKET}"):
        store.put(ref, [memoryview(b"abc")])


@pytest.mark.parametrize("name", ["..", "a/../../outside", "a//b", "/outside"])
def test_no_name_leads_out_of_the_prefix(server: ObjectStore, name: str) -> None:
    store, before = S3Blobs(server.url("in/side"), ""), server.objects()
    ref = describe(name, [memoryview(b"abc")])
    with suppress(BlobError):
        store.put(ref, [memoryview(b"abc")])
    assert all(key.startswith("in/side/") for key in set(server.objects()) - set(before))
