"""A TCP relay in front of a test's server, that can be cut like a cable and joined again."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path

from redis import Redis

_LOOK_S = 0.05
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Held(Enum):
    """What becomes of the connections that were there before a cut, and of what was held back on them."""

    FLOWS = "flows on"
    RESET = "is reset"
    FORGOTTEN = "is never heard of again"


class Relay:
    """Forwards connections to a port of its own to a server's unix socket, until it is cut.

    While it is cut nothing goes through in either direction, and no connection is closed. New ones are taken by the
    kernel, and nobody answers on them.

    Args:
        server: The server's unix socket.
    """

    def __init__(self, server: Path) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.settimeout(0)
        self._peers: dict[socket.socket, socket.socket] = {}
        self._forgotten: list[socket.socket] = []
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._changed = threading.Condition()
        self._is_cut = False
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="relay")
        self._thread.start()

    @property
    def url(self) -> str:
        """The broker's URL of whoever goes through the relay."""
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"

    def cut(self) -> None:
        """Let nothing through from now on."""
        with self._changed:
            self._is_cut = True

    def join(self, held: Held) -> None:
        """Let everything through again. Connections that were tried meanwhile never came about."""
        with self._changed:
            with suppress(BlockingIOError):
                while True:
                    _reset(self._listener.accept()[0])
            for end in list(self._peers) if held is not Held.FLOWS else ():
                self._selector.unregister(end)
                del self._peers[end]
                if held is Held.RESET:
                    _reset(end)
                else:
                    self._forgotten.append(end)
            self._is_cut = False
            self._changed.notify()

    def close(self) -> None:
        """End the thread, and close everything."""
        with self._changed:
            self._is_cut, self._is_closed = False, True
            self._changed.notify()
        self._thread.join(60)
        for end in (*self._peers, *self._forgotten, self._listener):
            end.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._is_closed:
            events = self._selector.select(_LOOK_S)
            with self._changed:
                self._changed.wait_for(lambda: not self._is_cut)
                for key, _ in events:
                    self._serve(key.fileobj)  # type: ignore[arg-type]  # only sockets are registered

    def _serve(self, end: socket.socket) -> None:
        if end is self._listener:
            with suppress(BlockingIOError):
                self._take(self._listener.accept()[0])
        elif end in self._peers:  # it may have gone since the look
            peer = self._peers[end]
            try:
                data = end.recv(2**16)
                peer.sendall(data)
            except OSError:
                data = b""
            if not data:
                for gone in (end, peer):
                    self._selector.unregister(gone)
                    del self._peers[gone]
                    gone.close()

    def _take(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(self._server))
        client.settimeout(None)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for end, peer in ((client, server), (server, client)):
            self._peers[end] = peer
            self._selector.register(end, selectors.EVENT_READ)


def _reset(end: socket.socket) -> None:
    if end.family == socket.AF_INET:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    end.close()


@contextmanager
def relay(broker: Redis) -> Iterator[Relay]:
    """A relay in front of a server that ``harness.server`` started; it ends with the block."""
    started = Relay(Path(broker.connection_pool.connection_kwargs["path"]))
    try:
        yield started
    finally:
        started.close()
