"""The body of a chord: carried out in the process of its last part, as soon as that is done.

Celery's own backend counts a chord's parts by scripts, collects what they return, and sends the body to a queue as
another task. The parts of a round return nothing: each is counted in one round trip, and the body is spared the way
through the broker.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import states
from celery.app.trace import trace_task
from celery.exceptions import ChordError

from tasks.broker.connection import persist
from tasks.broker.over_kombu import Backend
from tasks.scope import chord_keys, result_key

Body = Mapping[str, Any]
"""A signature, as a message has it."""


class ChordBackend(Backend):
    """The results of own workers, which ask it to count a chord's part when that has ended."""

    app: Any

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """Say how many parts a chord has, before the last of them is sent."""
        _, size = chord_keys(group_id)
        persist(lambda: self.client.set(size, chord_size, ex=self.expires))

    def on_chord_part_return(
        self, request: Any, state: str, result: object, propagate: bool | None = None, **kwargs: object
    ) -> None:
        """Count a part that is done, and carry out the body if it is the last.

        Of a part whose process was killed, be it while it was at the body, the error becomes the body's result.
        """
        body: Body = request.chord
        if state != states.SUCCESS:
            error = result if isinstance(result, WorkerLostError) else ChordError(repr(result))
            self.mark_as_failure(body["options"]["task_id"], error)
        elif self._is_last(request.group, request.group_index):
            if not request.ignore_result:
                # Of a part that has stored a result Celery doesn't tell that its process was killed.
                persist(lambda: self.client.delete(result_key(request.id)))
            self._carry_out(body)

    def _is_last(self, group_id: str, index: int) -> bool:
        """Count a part, and say whether all are done: one that came twice is counted, and the last, once."""
        (done, size), own = chord_keys(group_id), secrets.token_hex(8)

        def count() -> tuple[bytes, int, bytes | None]:
            with self.client.pipeline() as pipe:
                pipe.hsetnx(done, str(index), own)
                pipe.expire(done, self.expires)
                pipe.hget(done, str(index))
                pipe.hlen(done)
                pipe.get(size)
                _, _, counted, num_done, num_parts = pipe.execute()
            return counted, num_done, num_parts

        counted, num_done, num_parts = persist(count)
        return counted == own.encode() and num_parts is not None and num_done == int(num_parts)

    def _carry_out(self, body: Body) -> None:
        """Carry a body out as a task of its own, whose result is stored."""
        kwargs, task_id = body["kwargs"], body["options"]["task_id"]
        request = {"id": task_id, "args": (), "kwargs": kwargs, "is_eager": False}
        trace_task(self.app.tasks[body["task"]], task_id, (), kwargs, request, app=self.app)
