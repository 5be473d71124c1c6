"""A relay in front of a test's server that passes few bytes at a time, and may end TLS."""

from __future__ import annotations

import itertools
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from redis import Redis

Change = Callable[[bytes], bytes]


def _close(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


def _copy(source: socket.socket, target: socket.socket, sizes: Sequence[int], change: Change) -> None:
    with suppress(OSError):
        for size in itertools.cycle(sizes):
            data = source.recv(size)
            if not data:
                break
            target.sendall(change(data))
    _close(source)
    _close(target)


class _Pump:
    """Takes connections, and forwards each in two threads."""

    def __init__(self, path: str, sizes: Sequence[int], context: ssl.SSLContext | None, change: Change) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self._path = path
        self._sizes = sizes
        self._context = context
        self._change = change
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self._take(self.listener.accept()[0])

    def _take(self, client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            end = self._context.wrap_socket(client, server_side=True) if self._context else client
        except OSError:  # who has connected doesn't like the certificate
            client.close()
            return
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._path)
        self._ends += [end, server]
        for pair in ((end, server), (server, end)):
            self._threads.append(threading.Thread(target=_copy, args=(*pair, self._sizes, self._change)))
            self._threads[-1].start()

    def close(self) -> None:
        """End all threads, and close everything."""
        _close(self.listener)
        self._threads[0].join(60)
        for end in self._ends:
            _close(end)
        for thread in self._threads:
            thread.join(60)
        for end in (*self._ends, self.listener):
            end.close()


@contextmanager
def pump(
    broker: Redis, sizes: Sequence[int], context: ssl.SSLContext | None = None, change: Change = bytes
) -> Iterator[int]:
    """Forward connections to a port, which is yielded, to the server; ``sizes`` bytes at the most, by turns, at a time.

    With ``context`` they are encrypted up to here. ``change`` makes of what comes at a time what is passed on.
    """
    started = _Pump(broker.connection_pool.connection_kwargs["path"], sizes, context, change)
    try:
        yield started.listener.getsockname()[1]
    finally:
        started.close()
