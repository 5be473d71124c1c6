"""Chunks in Redis, a key each, moved between the socket and the arrays' own memory without a copy between.

redis-py makes a string of each value that it sends or reads: two or three copies of every byte, and more time than the
server takes. So the few commands that carry chunks (``SET``, ``GET``, ``GETRANGE``) are spoken here, on connections
that redis-py has opened, authenticated and encrypted, in the protocol's plain form
(https://redis.io/docs/latest/develop/reference/protocol-spec/). All else goes through redis-py.
"""

from __future__ import annotations

import math
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import TimeoutError as TimedOutError
from redis.retry import Retry

from tasks.blobs.blob import TTL_S, BlobRef
from tasks.blobs.chunks import Chunk, ChunkedBlobs, Wanted
from tasks.blobs.pace import FIRST_BYTES, MOST_BYTES, Pace
from tasks.broker import connection
from tasks.broker.refusals import Parser
from tasks.errors import BlobError, BlobMissingError

MAX_IDLE_S = 1.0
"""Seconds after which a connection that carries chunks isn't used again."""
AHEAD = 2
"""Chunks that are sent before the first of them is answered: on a long line they follow each other."""
PATIENCE_S = 5.0
"""Seconds that a client waits for a model that is missing: by then the orchestrator knows and has sent it again."""
_LOOK_AGAIN_S = 0.5
_MAX_DELETED = 1000
_SCAN_COUNT = 1000
_MAX_LINE_BYTES = 4096
_SMALL_BYTES = 2**16
"""Of fewer bytes it is quicker to copy them than to send them by themselves."""


def open_store(url: str) -> RedisChunks:
    """Return the store at the Redis of this URL, the broker's."""
    return RedisChunks(connection.connect(url, timeout_s=connection.CHUNK_TIMEOUT_S), patience_s=PATIENCE_S)


def of_client(connect: Callable[..., Redis]) -> RedisChunks:
    """Return the store at the broker for one of many who read from there at once.

    Args:
        connect: Returns a client for the broker, as :func:`tasks.broker.connection.connect` does.
    """
    return RedisChunks(connect(timeout_s=connection.CHUNK_TIMEOUT_S), patience_s=PATIENCE_S, is_paced=True)


class RedisChunks(ChunkedBlobs):
    """Chunks in Redis.

    Args:
        client: A client for the Redis, with a timeout that is long enough for a chunk on a slow line. It says how often
            what was interrupted is tried again.
        clock: Seconds that only go up.
        patience_s: Seconds in which a blob that is missing is looked for again: one that a broker which was emptied has
            forgotten is put there again.
        is_paced: Whether no more is asked for than the line brings in a moment: see :mod:`tasks.blobs.pace`.
    """

    def __init__(
        self,
        client: Redis,
        clock: Callable[[], float] = time.monotonic,
        patience_s: float = 0.0,
        *,
        is_paced: bool = False,
    ) -> None:
        self._redis = client
        self._retry = client.get_retry() or Retry(NoBackoff(), 0)
        self._clock = clock
        self._last_used = -math.inf
        self._patience_s = patience_s
        self._is_paced = is_paced

    def get(self, ref: BlobRef) -> memoryview:
        """Return the blob's bytes, checked and read-only; see :class:`tasks.blobs.blob.BlobStore`."""
        latest = self._clock() + self._patience_s
        while True:
            try:
                return super().get(ref)
            except BlobMissingError:
                if self._clock() >= latest:
                    raise
            time.sleep(_LOOK_AGAIN_S)

    def send(self, chunks: Iterable[Chunk]) -> None:
        """Keep chunks under their names for ``TTL_S`` seconds.

        Raises:
            RedisError: If the server refuses one, or stays away.
        """
        with self._connection() as connection:
            sending = _Sending(connection, chunks)
            while sending.take():
                self._retry.call_with_retry(sending.send, sending.begin_anew)

    def receive(self, wanted: Sequence[Wanted]) -> Iterator[int | None]:
        """Fill the buffers; see :class:`tasks.blobs.chunks.ChunkedBlobs`.

        Raises:
            BlobError: If what is kept under a name isn't a string.
            RedisError: If the server refuses to read it, or stays away.
        """
        pace = Pace(self._clock, FIRST_BYTES if self._is_paced else MOST_BYTES)
        with self._connection() as connection:
            reading = _Reading(connection, wanted, pace)
            for position in range(len(wanted)):
                yield self._retry.call_with_retry(partial(reading.read, position), reading.begin_anew)

    def has_chunk(self, name: str) -> bool:
        """Say whether there is a chunk of this name."""
        self._leave_idle()
        return bool(self._redis.exists(name))

    def count(self, names: Sequence[str]) -> int:
        """Return how many chunks there are of these names."""
        self._leave_idle()
        return int(self._redis.exists(*names))

    def delete(self, names: Iterable[str]) -> None:
        """Forget the chunks of these names."""
        keys = list(names)
        self._leave_idle()
        for start in range(0, len(keys), _MAX_DELETED):
            self._redis.unlink(*keys[start : start + _MAX_DELETED])

    def find(self, pattern: str) -> Iterator[str]:
        """Yield the names of chunks that match a pattern, and of whatever else is kept by such a name."""
        self._leave_idle()
        for key in self._redis.scan_iter(match=pattern, count=_SCAN_COUNT):
            yield key.decode()

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        """Lend a connection: a new one, if the last one wasn't used for a while."""
        self._leave_idle()
        pool: Any = self._redis.connection_pool
        connection = pool.get_connection()
        try:
            yield connection
        except BaseException:
            connection.disconnect()  # what was asked for on it, and not read, is nobody's
            raise
        finally:
            self._last_used = self._clock()
            pool.release(connection)

    def _leave_idle(self) -> None:
        """Use the last connection no more if it wasn't used for a while.

        While a client trains, the network may be cut and joined again, and its connection be dead without anybody
        having said so. To find out would take the whole timeout.
        """
        if self._clock() - self._last_used > MAX_IDLE_S:
            pool: Any = self._redis.connection_pool
            pool.disconnect(inuse_connections=False)
        self._last_used = self._clock()


class _Sending:
    """Chunks that are sent one after the other, each before the one ahead of it is answered."""

    def __init__(self, connection: Any, chunks: Iterable[Chunk]) -> None:
        self._connection = connection
        self._unsent = iter(chunks)
        self._unanswered: deque[Chunk] = deque()
        self._num_asked = 0

    def take(self) -> bool:
        """Take up as many chunks as may be sent ahead; False if all have been answered."""
        self._unanswered.extend(islice(self._unsent, AHEAD - len(self._unanswered)))
        return bool(self._unanswered)

    def send(self) -> None:
        """Send what was taken up, and have the first of it answered."""
        line = _Line.open(self._connection)
        for chunk in islice(self._unanswered, self._num_asked, None):
            line.ask_to_set(chunk)
            self._num_asked += 1
        line.read_status()
        self._unanswered.popleft()
        self._num_asked -= 1

    def begin_anew(self, _error: Exception) -> None:
        """Give the connection up; what went with it is sent again."""
        self._connection.disconnect()
        self._num_asked = 0


@dataclass(frozen=True, slots=True)
class _Piece:
    """What is asked for of a chunk."""

    position: int
    start: int
    end: int


class _Reading:
    """Chunks that are read one after the other, each asked for before its turn comes, in pieces if the line is slow."""

    def __init__(self, connection: Any, wanted: Sequence[Wanted], pace: Pace) -> None:
        self._connection = connection
        self._wanted = wanted
        self._pace = pace
        self._asked: deque[_Piece] = deque()
        self._next = 0, 0
        """The chunk, and where in it, that is to be asked for next."""

    def read(self, position: int) -> int | None:
        """Fill the buffer at ``position``; all before it have been read."""
        line, buffer = _Line.open(self._connection), self._wanted[position].buffer
        if not self._asked:
            self._next = position, 0
        while True:
            self._ask(line)
            piece = self._asked[0]
            try:
                is_there = line.read_into(buffer[piece.start : piece.end])
            except _OtherLengthError as error:
                self.begin_anew(error)
                return None if piece.end < len(buffer) and not error.size_bytes else piece.start + error.size_bytes
            self._asked.popleft()
            self._pace.came()
            if not is_there or piece.end == len(buffer):
                return len(buffer) if is_there else None

    def _ask(self, line: _Line) -> None:
        """Ask for what the pace allows."""
        while (piece := self._next_piece()) is not None:
            want = self._wanted[piece.position]
            is_last = piece.end == len(want.buffer)
            if is_last and not piece.start:
                line.ask_to_get(want.name)
            else:
                line.ask_to_get_range(want.name, piece.start, piece.end)
            self._asked.append(piece)
            self._pace.asked(piece.end - piece.start)
            self._next = (piece.position + 1, 0) if is_last else (piece.position, piece.end)

    def _next_piece(self) -> _Piece | None:
        position, start = self._next
        if position == len(self._wanted):
            return None
        num_bytes = self._pace.next_bytes(len(self._wanted[position].buffer) - start)
        return _Piece(position, start, start + num_bytes) if num_bytes else None

    def begin_anew(self, _error: Exception) -> None:
        """Give the connection up, and all that was asked for on it."""
        self._connection.disconnect()
        self._asked.clear()
        self._pace.begin_anew()


class _OtherLengthError(Exception):
    """Raised when a value is not as long as it should be: it is still to be read."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(size_bytes)
        self.size_bytes = size_bytes


class _Line:
    """A connection's socket, and the protocol that is spoken on it."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    @classmethod
    def open(cls, connection: Any) -> _Line:
        """Return the line of redis-py's ``connection``, which is connected if it isn't."""
        connection.connect_check_health(check_health=False, retry_socket_connect=False)
        return cls(connection._sock)

    def ask_to_set(self, chunk: Chunk) -> None:
        """Send a ``SET`` that has the chunk expire."""
        head = b"*5\r\n" + _bulk(b"SET") + _bulk(chunk.name.encode()) + b"$%d\r\n" % chunk.size_bytes
        tail = b"\r\n" + _bulk(b"EX") + _bulk(b"%d" % TTL_S)
        with _lost_if_broken():
            if chunk.size_bytes < _SMALL_BYTES:
                self._socket.sendall(b"".join((head, *chunk.pieces, tail)))
                return
            self._socket.sendall(head)
            for piece in chunk.pieces:
                self._socket.sendall(piece)
            self._socket.sendall(tail)

    def ask_to_get(self, name: str) -> None:
        """Send a ``GET``."""
        with _lost_if_broken():
            self._socket.sendall(b"*2\r\n" + _bulk(b"GET") + _bulk(name.encode()))

    def ask_to_get_range(self, name: str, start: int, end: int) -> None:
        """Send a ``GETRANGE`` of the bytes from ``start`` up to ``end``."""
        words = (b"GETRANGE", name.encode(), b"%d" % start, b"%d" % (end - 1))
        with _lost_if_broken():
            self._socket.sendall(b"*4\r\n" + b"".join(map(_bulk, words)))

    def read_status(self) -> None:
        """Read the answer to a ``SET``."""
        self._reply(b"+")

    def read_into(self, buffer: memoryview) -> bool:
        """Read the answer to a ``GET`` or a ``GETRANGE``; say whether there is one.

        Raises:
            _OtherLengthError: If the value isn't as long as the buffer. It is left unread.
        """
        reply = self._reply(b"$", b"_")
        if reply in (b"$-1", b"_"):
            return False
        size_bytes = int(reply[1:])
        if size_bytes != len(buffer):
            raise _OtherLengthError(size_bytes)
        self._read_into(buffer)
        self._read_line()
        return True

    def _reply(self, *kinds: bytes) -> bytes:
        line = self._read_line()
        if line.startswith(b"-"):
            raise _refusal(line[1:].decode("utf-8", "replace"))
        if not line.startswith(kinds):
            raise LostConnectionError(f"an answer begins with {line[:50]!r}")
        return line

    def _read_line(self) -> bytes:
        """Read to the end of a line and no further: what lies behind it goes straight into its place."""
        line = bytearray()
        with _lost_if_broken():
            while not line.endswith(b"\r\n") and len(line) < _MAX_LINE_BYTES:
                byte = self._socket.recv(1)
                if not byte:
                    raise LostConnectionError("the server closed the connection")
                line += byte
        return bytes(line[:-2])

    def _read_into(self, buffer: memoryview) -> None:
        with _lost_if_broken():
            while buffer:
                num_bytes = self._socket.recv_into(buffer)
                if not num_bytes:
                    raise LostConnectionError("the server closed the connection")
                buffer = buffer[num_bytes:]


def _bulk(word: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(word), word)


@contextmanager
def _lost_if_broken() -> Iterator[None]:
    """Say of a socket that is broken what redis-py says, so that it is tried again as there."""
    try:
        yield
    except TimeoutError as error:
        raise TimedOutError(f"the server took too long: {error}") from error
    except OSError as error:
        raise LostConnectionError(f"the connection is broken: {error}") from error


def _refusal(text: str) -> Exception:
    """Return what redis-py, or a blob's reader, makes of an error that the server tells."""
    if text.startswith("WRONGTYPE"):
        return BlobError(f"a chunk can't be read: {text}")
    return Parser.parse_error(text)
