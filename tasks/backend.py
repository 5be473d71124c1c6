"""Where results are stored: Celery's Redis backend, with a round trip less."""

from __future__ import annotations

from typing import Any

from celery import states
from celery.backends.redis import RedisBackend


class DirectBackend(RedisBackend):
    """Celery's Redis backend, which doesn't look at what is there before it stores a success.

    Celery looks so that a failure that is told of later, as of a process that was lost once it had stored its result,
    doesn't take a success's place. This one looks before it stores anything but a success.
    """

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **options: Any
    ) -> Any:
        if state != states.SUCCESS:
            base: Any = super()
            return base._store_result(task_id, result, state, traceback=traceback, request=request, **options)
        backend: Any = self
        meta = backend._get_result_meta(result=result, state=state, traceback=traceback, request=request)
        backend._set_with_state(self.get_key_for_task(task_id), self.encode({**meta, "task_id": task_id}), state)
        return result
