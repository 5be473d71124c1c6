"""Chunks through a real server, on a socket of our own."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.exceptions import OutOfMemoryError
from redis.exceptions import TimeoutError as TimedOutError
from redis.retry import Retry

from tasks.blobs import blob
from tasks.blobs.chunks import Chunk, Wanted
from tasks.blobs.in_redis import MAX_IDLE_S, RedisChunks
from tasks.broker import connection as tasks_broker
from tasks.errors import BlobError, BlobMissingError
from tests.integration import harness

MIB = 2**20


def connect(broker: Redis, **options: Any) -> Redis:
    path = broker.connection_pool.connection_kwargs["path"]
    return Redis(unix_socket_path=path, **{"retry": Retry(ConstantBackoff(0.05), 40), **options})


def chunk(name: str, *pieces: bytes) -> Chunk:
    return Chunk(name, [memoryview(piece) for piece in pieces])


def buffers(*sizes: int) -> list[memoryview]:
    return [memoryview(bytearray(size)) for size in sizes]


def test_what_is_sent_is_what_the_server_has_and_what_is_received(broker: Redis) -> None:
    # Given chunks of all kinds: of one piece and of three, small and large, with line ends in them
    data = os.urandom(3 * MIB)
    store = RedisChunks(connect(broker))
    # When they are sent
    store.send([chunk("a", b"x\r\n$5\r\n"), chunk("b", data[:MIB], b"", data[MIB:]), chunk("c", b"1", b"2", b"3")])
    # Then the server has them, for a time
    assert [broker.get(name) for name in "abc"] == [b"x\r\n$5\r\n", data, b"123"]
    assert all(blob.TTL_S - 5 < broker.ttl(name) <= blob.TTL_S for name in "abc")
    # And they are received, one that isn't there between them
    wanted = [Wanted(name, buffer) for name, buffer in zip("axbc", buffers(7, 5, 3 * MIB, 3), strict=True)]
    assert list(store.receive(wanted)) == [7, None, 3 * MIB, 3]
    assert [bytes(want.buffer) for want in wanted] == [b"x\r\n$5\r\n", bytes(5), data, b"123"]
    assert (store.has_chunk("a"), store.has_chunk("x")) == (True, False)
    store.delete(["a", "x"])
    assert not store.has_chunk("a")


def test_a_chunk_of_another_length_is_told_and_those_behind_it_are_read(broker: Redis) -> None:
    # Given a chunk that is longer than it should be, one that is shorter, and a good one
    for name, value in (("long", bytes(5 * MIB)), ("short", b"12"), ("good", b"12345")):
        broker.set(name, value)
    store = RedisChunks(connect(broker))
    # When they are received, then two are told and the third is there
    wanted = [Wanted(name, buffer) for name, buffer in zip(("long", "short", "good"), buffers(4, 3, 5), strict=True)]
    assert list(store.receive(wanted)) == [5 * MIB, 2, 5]
    assert bytes(wanted[2].buffer) == b"12345"


def test_a_value_that_is_no_string_is_an_error_of_the_blob(broker: Redis) -> None:
    # Given a list where a chunk should be, and a chunk behind it
    broker.rpush("b:0", "x")
    broker.set("b:1", b"1")
    store = RedisChunks(connect(broker))
    # When it is received, then the blob can't be read
    with pytest.raises(BlobError, match="a chunk can't be read: WRONGTYPE"):
        list(store.receive([Wanted("b:0", buffers(1)[0]), Wanted("b:1", buffers(1)[0])]))
    # And the store goes on: what was asked for behind it isn't taken for another's answer
    assert list(store.receive([Wanted("b:1", buffers(1)[0])])) == [1]


def test_a_reading_that_is_given_up_leaves_nothing_to_the_next(broker: Redis) -> None:
    # Given three chunks, of which the first is read and then no more
    store = RedisChunks(connect(broker))
    store.send([chunk("a", b"1"), chunk("b", b"2"), chunk("c", b"3")])
    reading = store.receive([Wanted(name, buffers(1)[0]) for name in "abc"])
    next(reading)
    del reading
    # When another is read, then it is that one
    [buffer] = buffers(1)
    assert list(store.receive([Wanted("c", buffer)])) == [1]
    assert bytes(buffer) == b"3"


def test_an_error_of_the_server_is_raised_and_the_store_goes_on(broker: Redis) -> None:
    # Given a server without memory for all chunks
    broker.config_set("maxmemory", 8 * MIB)
    store = RedisChunks(connect(broker))
    # When they are sent, then it says so
    with pytest.raises(OutOfMemoryError, match="maxmemory"):
        store.send([chunk(str(number), bytes(2 * MIB)) for number in range(8)])
    # And the store goes on
    broker.config_set("maxmemory", 0)
    store.send([chunk("a", b"1")])
    assert broker.get("a") == b"1"


def test_memory_that_is_full_for_a_while_is_waited_for(broker: Redis) -> None:
    # Given a server without memory for all chunks, for as long as others' are there
    broker.set("others", bytes(8 * MIB))
    broker.config_set("maxmemory", 12 * MIB)
    path = broker.connection_pool.connection_kwargs["path"]
    store = RedisChunks(tasks_broker.connect(f"redis+socket://{path}"))
    data = os.urandom(9 * MIB)
    taken_out = threading.Timer(0.5, broker.delete, ["others"])
    taken_out.start()
    # When a blob is sent, then it waits and is whole
    ref = blob.publish(store, "b", [memoryview(data)])
    taken_out.join()
    assert store.get(ref) == data


@pytest.mark.parametrize("is_paced", [False, True], ids=["at once", "at a pace"])
def test_connections_that_are_cut_in_the_middle_change_nothing(broker: Redis, is_paced: bool) -> None:
    # Given somebody who cuts all connections again and again
    data = os.urandom(40 * MIB)
    store = RedisChunks(connect(broker), is_paced=is_paced)
    stop, num_cut = threading.Event(), [0]

    def cut() -> None:
        while not stop.wait(0.02):
            num_cut[0] += broker.client_kill_filter(_type="normal", skipme=True)

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        # When a blob is sent and fetched until that has happened often enough
        while num_cut[0] < 10:
            ref = blob.publish(store, "b", [memoryview(data)])
            # Then it is whole
            assert store.get(ref) == data
    finally:
        stop.set()
        cutter.join()


def test_a_server_that_is_killed_and_started_again_is_waited_for() -> None:
    # Given a server that keeps what it has on disk
    with harness.server(appendonly=True) as server:
        store = RedisChunks(connect(server.client))
        store.send([chunk("a", b"1")])
        # When it is killed, and started again while a chunk is being sent and another is read
        server.kill()
        again = threading.Timer(0.5, server.start)
        again.start()
        [buffer] = buffers(1)
        store.send([chunk("b", b"2")])
        # Then it was waited for
        assert list(store.receive([Wanted("a", buffer)])) == [1]
        assert bytes(buffer) == b"1"
        again.join()


def test_a_server_that_doesnt_answer_is_an_error_after_the_timeout(broker: Redis) -> None:
    # Given a server that stands still
    impatient = connect(broker, socket_timeout=0.2, retry=Retry(ConstantBackoff(0), 1))
    store = RedisChunks(impatient)
    store.send([chunk("a", b"1")])
    broker.client_pause(1500)
    # When a chunk is asked for, then it is said that it takes too long
    with pytest.raises(TimedOutError, match=r"took too long|Timeout reading"):
        list(store.receive([Wanted("a", buffers(1)[0])]))
    broker.client_unpause()


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.send([chunk("a", b"1")]),
        lambda store: list(store.receive([Wanted("a", buffers(1)[0])])),
        lambda store: store.has_chunk("a"),
        lambda store: store.delete(["a"]),
    ],
    ids=["send", "receive", "has", "delete"],
)
def test_a_connection_that_was_idle_is_not_used_again(broker: Redis, use: Callable[[RedisChunks], object]) -> None:
    # Given a store that has just sent a chunk
    now = [100.0]
    store = RedisChunks(connect(broker), clock=lambda: now[0])

    def connections() -> int:
        return int(broker.info("stats")["total_connections_received"])

    store.send([chunk("a", b"1")])
    before = connections()
    # When another follows at once, then the connection is kept
    now[0] += MAX_IDLE_S
    use(store)
    assert connections() == before
    # When one follows after a while, in which the network may have been cut, then it is given up before
    now[0] += 2 * MAX_IDLE_S
    use(store)
    assert connections() == before + 1


def test_the_memory_of_arrays_is_sent_as_it_is(broker: Redis) -> None:
    # Given an array of floats, when its memory is published and fetched, then it is the same, read-only
    values = np.linspace(0, 1, 3 * MIB, dtype=np.float32)
    store = RedisChunks(connect(broker))
    ref = blob.publish(store, "b", [values.data])
    found = np.frombuffer(store.get(ref), np.float32)
    np.testing.assert_array_equal(found, values)
    assert not found.flags.writeable


def test_of_a_blob_that_is_on_its_way_the_whole_chunks_are_counted(broker: Redis) -> None:
    # Given a blob of three chunks, of which the server has two, and another's
    store = RedisChunks(connect(broker))
    size = blob.CHUNK_BYTES
    store.send([chunk("a:0", bytes(size)), chunk("a:1", bytes(size)), chunk("ab:0", b"1")])
    # Then that is how much is there, and of one that isn't begun nothing
    assert store.num_bytes("a", 3 * size) == 2 * size
    assert store.num_bytes("a", size) == size
    assert store.num_bytes("b", 3 * size) == 0


def test_a_blob_that_was_forgotten_is_read_when_it_is_put_there_again(broker: Redis) -> None:
    # Given a blob that the server doesn't have yet, and somebody who puts it there in a while
    pieces = [memoryview(b"parameters")]
    ref = blob.describe("fl:blob:model/run/0", pieces)
    later = threading.Timer(0.3, RedisChunks(connect(broker)).put, [ref, pieces])
    later.start()
    # When who has the patience reads it, then it is all there
    assert bytes(RedisChunks(connect(broker), patience_s=60.0).get(ref)) == b"parameters"
    later.join()


def test_a_blob_that_stays_missing_is_an_error_when_patience_is_over(broker: Redis) -> None:
    # Given a clock on which each look at it takes two seconds
    seconds = iter(range(0, 100, 2))
    store = RedisChunks(connect(broker), clock=lambda: float(next(seconds)), patience_s=3.0)
    # When a blob that isn't there is read, then the error says so
    with pytest.raises(BlobMissingError, match="chunk 1 of 1 is missing"):
        store.get(blob.describe("fl:blob:model/run/0", [memoryview(b"parameters")]))
