"""What an own worker has others do: it hands a task on in its place, or asks several and looks for what they return."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NoReturn

from celery import Celery
from celery.exceptions import Ignore

from orchestrator.transport.sending import Call, Publisher
from tasks.broker.connection import persist
from tasks.scope import result_key


class Crew:
    """The own workers at a broker, for one of them.

    Args:
        app: Makes the messages; its backend has the results.
    """

    def __init__(self, app: Celery) -> None:
        backend: Any = app.backend
        self._client = backend.client
        self._publisher = Publisher(app, self._client)

    def hand_on(self, request: Any, task: str, queue: str, kwargs: Mapping[str, object]) -> NoReturn:
        """Have another task take the place of one that is under way: its id, and in a chord its part.

        As Celery's ``replace``, which would want to know the queue's exchange.

        Args:
            request: The request of the task that is under way.
            task: The other's name.
            queue: Its queue.
            kwargs: Its arguments.

        Raises:
            Ignore: Always, so that Celery takes the task for neither done nor failed.
        """
        options = {
            "group_id": request.group,
            "group_index": request.group_index,
            "chord": request.chord,
            "ignore_result": request.ignore_result,
        }
        self.send([Call(task, request.id, queue, kwargs=kwargs, options=options)])
        raise Ignore(f"{task} takes its place")

    def send(self, calls: Sequence[Call]) -> None:
        """Put tasks on their queues."""
        persist(lambda: self._publisher.publish(calls))

    def returned(self, task_ids: Sequence[str]) -> dict[str, object]:
        """Return what those of the tasks have returned that have ended well."""
        stored = persist(lambda: self._client.mget(map(result_key, task_ids))) if task_ids else []
        found = {task_id: json.loads(raw) for task_id, raw in zip(task_ids, stored, strict=True) if raw}
        return {task_id: each["result"] for task_id, each in found.items() if each["status"] == "SUCCESS"}

    def forget(self, task_ids: Collection[str]) -> None:
        """Remove what tasks have returned."""
        if task_ids:
            persist(lambda: self._client.unlink(*map(result_key, task_ids)))
