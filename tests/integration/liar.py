"""Clients without a worker of ours: they announce themselves, take their orders from their queues, and lie."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis import Redis

from tasks.broker.presence import RedisRegistry
from tasks.scope import ClientScope, result_key
from tests.support import announcement


class Liar:
    """Clients that answer each order to train as they are told to, and others with nothing."""

    def __init__(
        self, broker: Redis, client_ids: Sequence[str], response: Callable[[Any, dict[str, Any]], bytes | str]
    ) -> None:
        self.client = Redis(unix_socket_path=broker.connection_pool.connection_kwargs["path"])
        self._client_ids = client_ids
        self._response = response

    def live(self, stop: threading.Event) -> None:
        """Take part until told to stop."""
        registry = RedisRegistry(self.client)
        said = [announcement(each, workload="pulled:Pulled", num_examples=10) for each in self._client_ids]
        while not stop.is_set():
            registry.announce_all(said)
            taken = self.client.blpop([ClientScope(each).queue for each in self._client_ids], timeout=0.5)
            if taken:
                message = json.loads(taken[1])
                task_id, body = message["headers"]["id"], json.loads(base64.b64decode(message["body"]))
                raw = self._response(self, body[0][0]) if task_id.endswith("/train") else b"{}"
                self.client.set(result_key(task_id), raw, ex=60)
                self.client.publish(result_key(task_id), raw[:1000])


@contextmanager
def living(liar: Liar) -> Iterator[None]:
    """Have them take part while the block runs."""
    stop = threading.Event()
    thread = threading.Thread(target=liar.live, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        liar.client.close()
