"""Chunks over lines that pass a few bytes at a time, over TLS, and past errors in the middle of what is under way."""

from __future__ import annotations

import os
import ssl
from functools import partial
from pathlib import Path

import pytest
import trustme
from redis import Redis
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import ResponseError

from tasks.blobs import blob
from tasks.blobs.chunks import Chunk, Wanted
from tasks.blobs.in_redis import RedisChunks, of_client
from tasks.blobs.pace import FIRST_BYTES
from tasks.broker.connection import connect
from tasks.errors import BlobError
from tests.integration import harness
from tests.integration.pump import pump

MIB = 2**20
DATA = os.urandom(5 * MIB + 17)


def test_small_chunks_byte_by_byte(broker: Redis) -> None:
    # Given a line that passes one byte at a time
    with pump(broker, [1]) as port:
        store = RedisChunks(connect(f"redis://127.0.0.1:{port}/0"))
        # When chunks are sent and received, one that isn't there and one of another length among them
        store.send([Chunk(name, [memoryview(b"\r\n$-1\r\n")]) for name in "abc"])
        wanted = [Wanted(name, memoryview(bytearray(size))) for name, size in (("a", 7), ("x", 7), ("b", 6), ("c", 7))]
        # Then each is what it is
        assert list(store.receive(wanted)) == [7, None, 7, 7]
        assert bytes(wanted[3].buffer) == b"\r\n$-1\r\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """An authority's certificate, and what a server at 127.0.0.1 needs that has one of it."""
    path, own = tmp_path_factory.mktemp("tls") / "authority.pem", trustme.CA()
    own.cert_pem.write_to_path(str(path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.issue_cert("127.0.0.1").configure_cert(context)
    return path, context


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("sizes", [[1, 2, 3, 5, 7, 65536, 1, 4099], [1000], [2**20]])
def test_a_blob_that_comes_in_pieces_of_any_length_is_whole(
    broker: Redis, authority: tuple[Path, ssl.SSLContext], sizes: list[int], tls: bool
) -> None:
    # Given a line that passes so many bytes at a time, or that, to a server with a certificate of one's own authority
    ca, context = authority
    with pump(broker, sizes, context if tls else None) as port:
        at = f"127.0.0.1:{port}/0"
        store = RedisChunks(connect(f"rediss://{at}?ssl_ca_certs={ca}" if tls else f"redis://{at}"))
        # When a blob is sent and fetched, then it is whole, on both sides
        ref = blob.publish(store, "b", [memoryview(DATA[:100]), memoryview(DATA[100:])])
        assert b"".join(harness.stored(broker, name) for name in ref.chunk_names()) == DATA
        assert store.get(ref) == DATA


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_a_blob_that_is_asked_for_in_pieces_is_whole(
    broker: Redis, authority: tuple[Path, ssl.SSLContext], tls: bool
) -> None:
    # Given a line that passes 64 kB at a time, and a client that asks for no more than comes in a moment
    ca, context = authority
    with pump(broker, [2**16], context if tls else None) as port:
        url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={ca}" if tls else f"redis://127.0.0.1:{port}/0"
        store = of_client(partial(connect, url))
        # When a blob is fetched, then it is whole
        ref = blob.publish(store, "b", [memoryview(DATA)])
        broker.config_resetstat()
        assert store.get(ref) == DATA
    # And of its first chunk at least it asked for pieces
    assert broker.info("commandstats")["cmdstat_getrange"]["calls"] >= 2


def test_of_chunks_in_pieces_those_that_are_missing_or_too_short_are_told(broker: Redis) -> None:
    # Given chunks, one of which is shorter than it should be, one too short for its second piece, and one no string
    store, whole = of_client(partial(connect, harness.url(broker))), DATA[: 4 * FIRST_BYTES]
    for name, value in {"a": whole, "b": whole[:100], "c": whole[: FIRST_BYTES + 100]}.items():
        broker.set(name, value)
    broker.rpush("list", "1")
    buffer = memoryview(bytearray(len(whole)))
    # When they are read, then it is said how long each is, and each that follows is what it is
    wanted = [Wanted(name, buffer) for name in ("a", "x", "b", "a", "c", "a")]
    found = [(size, bytes(buffer) == whole) for size in store.receive(wanted)]
    sizes = [size for size, _ in found]
    assert sizes == [len(whole), None, 100, len(whole), FIRST_BYTES + 100, len(whole)]
    assert [is_whole for size, is_whole in found if size == len(whole)] == [True, True, True]
    with pytest.raises(BlobError, match="can't be read"):
        list(store.receive([Wanted("list", buffer)]))
    assert list(store.receive([Wanted("a", buffer)])) == [len(whole)]


def test_a_server_whose_certificate_is_of_another_authority_gets_nothing(
    broker: Redis, authority: tuple[Path, ssl.SSLContext], tmp_path: Path
) -> None:
    # Given a client that trusts another authority
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    with pump(broker, [2**20], authority[1]) as port:
        store = RedisChunks(connect(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={other}", retries=0))
        # When it sends, then it says that the certificate isn't good
        with pytest.raises(LostConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            store.send([Chunk("a", [memoryview(b"1")])])
    assert broker.keys("*") == []


@pytest.mark.parametrize("refused", [0, 1, 2, 3])
def test_a_chunk_that_is_refused_in_the_middle_is_told_and_no_answer_is_taken_for_anothers(
    broker: Redis, refused: int
) -> None:
    # Given a client that may not write, nor read, one of its chunks
    path = broker.connection_pool.connection_kwargs["path"]
    allowed = [str(number) for number in range(4) if number != refused]
    broker.acl_setuser("anna", enabled=True, nopass=True, categories=["+@all"], keys=allowed)
    store = RedisChunks(Redis(unix_socket_path=path, username="anna", password="any"))
    chunks = [Chunk(str(number), [memoryview(bytes([number]) * MIB)]) for number in range(4)]
    # When all are sent, then it is told, and those before it are there
    with pytest.raises(ResponseError, match="No permissions"):
        store.send(chunks)
    assert all(broker.get(str(number)) == bytes([number]) * MIB for number in range(refused))
    # When all are read, likewise
    for number in range(4):
        broker.set(str(number), bytes([number]) * MIB)
    wanted = [Wanted(str(number), memoryview(bytearray(MIB))) for number in range(4)]
    reading = store.receive(wanted)
    assert [next(reading) for _ in range(refused)] == [MIB] * refused
    with pytest.raises(ResponseError, match="No permissions"):
        next(reading)
    # And what is read next is what was asked for
    for number in set(range(4)) - {refused}:
        [want] = [Wanted(str(number), memoryview(bytearray(MIB)))]
        assert list(store.receive([want])) == [MIB]
        assert bytes(want.buffer) == bytes([number]) * MIB
