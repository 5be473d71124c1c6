"""Publishing tasks: many of them in one go to the server, in the form that Celery's workers read.

Celery itself sends each task by itself, connects a client object for it, subscribes to its result, and writes down its
arguments a second time to be shown: about a millisecond a task. Here Celery makes the message (protocol 2,
https://docs.celeryq.dev/en/stable/internals/protocol.html), this module puts it into the envelope of kombu's Redis
transport, and all go by one pipeline: a fifth of that.
"""

from __future__ import annotations

import base64
import json
import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from celery import Celery
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError, ResponseError
from redis.retry import Retry

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """A task to be published.

    Attributes:
        task: Its name.
        task_id: Its id.
        queue: The queue that it goes to.
        args: Its arguments.
        kwargs: Its arguments by name.
        options: What else its message says, as ``Celery.amqp.as_task_v2`` names it.
    """

    task: str
    task_id: str
    queue: str
    args: tuple[object, ...] = ()
    kwargs: Mapping[str, object] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)


class Publisher:
    """Publishes tasks.

    Args:
        app: Makes the messages.
        client: A client for the Redis; it says how often what was interrupted is tried again. A task may be published
            twice then.
    """

    def __init__(self, app: Celery, client: Redis) -> None:
        self._app = app
        self._client = client

    def publish(self, calls: Sequence[Call]) -> None:
        """Put all of the tasks on their queues, in order but for those that there was no memory for at first.

        Where a client has put something else in its queue's place, its task is left out.

        Raises:
            RedisError: If the server refuses one for another reason, or stays away.
        """
        unsent = list(calls)
        retry = self._client.get_retry() or Retry(NoBackoff(), 0)
        retry.call_with_retry(
            lambda: self._send(unsent),
            lambda _error: None,
            # What was interrupted otherwise was tried again when it came here.
            is_retryable=lambda error: isinstance(error, OutOfMemoryError),
        )

    def _send(self, unsent: list[Call]) -> None:
        """Put tasks on their queues; those that the server has no memory for stay in the list.

        Raises:
            OutOfMemoryError: If there are such.
            RedisError: If the server refuses one for another reason, or stays away.
        """
        with self._client.pipeline(transaction=False) as pipe:
            for call in unsent:
                pipe.lpush(call.queue, self._envelope(call))
            results = pipe.execute(raise_on_error=False)
        refused = []
        for call, result in zip(unsent, results, strict=True):
            if isinstance(result, OutOfMemoryError):
                refused.append((call, result))
            elif isinstance(result, ResponseError) and str(result).startswith("WRONGTYPE"):
                logger.warning("task %s can't be sent: %s isn't a queue", call.task_id, call.queue)
            elif isinstance(result, Exception):
                raise result
        unsent[:] = [call for call, _ in refused]
        for _, error in refused:
            raise error

    def _envelope(self, call: Call) -> str:
        make: Any = self._app.amqp.as_task_v2
        message = make(
            call.task_id,
            call.task,
            call.args,
            dict(call.kwargs),
            origin="orchestrator",  # by default it is the process and the name of its machine
            argsrepr="()",
            kwargsrepr="{}",
            **call.options,
        )
        body = json.dumps(message.body, separators=(",", ":")).encode()
        return json.dumps(
            {
                "body": base64.b64encode(body).decode(),
                "content-encoding": "utf-8",
                "content-type": "application/json",
                "headers": message.headers,
                "properties": {
                    **message.properties,
                    "delivery_mode": 2,
                    "delivery_info": {"exchange": "", "routing_key": call.queue},
                    "priority": 0,
                    "body_encoding": "base64",
                    "delivery_tag": str(uuid.uuid4()),
                },
            }
        )
