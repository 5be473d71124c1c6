"""The Celery tasks of a client, one a kind of orders: each decodes its order, has it carried out, encodes the answer.

Celery gives a task nothing but its message. So the process's clients are with the app that it runs under, as the
attribute ``serving``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, NoReturn

from celery import shared_task
from celery.app.trace import build_tracer
from celery.exceptions import Ignore

from tasks.errors import FederationError, MessageError
from tasks.messages import READY, Response, decode, encode
from tasks.names import order_task
from tasks.orders.kind import AnyKind
from worker.handlers import KINDS
from worker.serving import Serving
from worker.together import STORE_S, Answer, Limits, answer_each

STALE_S = 2.0
"""Seconds after an order's deadline at which its slot is surely filled: by then nobody waits for an answer."""


def _is_stale(serving: Serving, client_id: str, deadline: object) -> bool:
    """Say whether an order came so late, by a worker that was away, that its round has been closed without it."""
    try:
        client = serving.find(client_id)
    except (LookupError, FederationError):  # carrying the order out says what is wrong
        return False
    return isinstance(deadline, int | float) and client.connection.time() > deadline + STALE_S


def _in_time(limits: Limits, kind: AnyKind, message: object) -> AbstractContextManager[None]:
    """Return what keeps an order's time where the task's limits don't; what is no order takes none."""
    try:
        return limits.of(decode(kind.order, message))
    except MessageError:
        return nullcontext()


def _answer_together(task: Any, kind: AnyKind, messages: Sequence[object]) -> None:
    """Carry out orders that came by one message, and store the answer to each."""
    limits = Limits()

    def carry_out(message: object, order_id: str) -> Answer | None:
        with _in_time(limits, kind, message):  # what loading the client's data takes counts, too
            return _answered(task, kind, message, order_id)

    def store(answers: Mapping[str, Answer]) -> None:
        limits.lift(STORE_S)  # what the broker takes for it counts against nobody
        task.backend.store_together(answers)

    try:
        answer_each(messages, carry_out, store)
    finally:
        limits.lift()


def _answered(task: Any, kind: AnyKind, message: object, order_id: str) -> Answer | None:
    """Carry an order out and return what answers it; None if nobody waits for that any more.

    Args:
        task: The Celery task that runs.
        kind: The order's kind.
        message: The order as it came.
        order_id: The id under which its answer is stored.
    """
    serving: Serving = task.app.serving
    said = message if isinstance(message, dict) else {}
    client_id = str(said.get("client_id"))[:64]
    if _is_stale(serving, client_id, said.get("deadline")):
        return None

    def act() -> Response:
        if serving.site is not None:
            serving.site.check_order(kind.order.name, message, order_id)
        client = replace(serving.find(client_id), say_ready=lambda: task.update_state(order_id, READY))
        order = decode(kind.order, message)
        client.check_size(order)
        return client.allowed.policy.carry_out(order, client, lambda: kind.handle(client, order), kind.spec)

    answer = encode(serving.carry_out(act, order_id, client_id))
    return answer if serving.site is None else serving.site.signed_answer(answer)


def register(kind: AnyKind) -> None:
    """Make the task that carries out orders of a kind."""

    @shared_task(name=order_task(kind.order.name), bind=True)
    def carry_out(self: Any, message: object) -> Answer | None:
        if isinstance(message, list):
            _answer_together(self, kind, message)
            self.request.ignore_result = True  # each was answered by itself
            return None
        answer = _answered(self, kind, message, self.request.id)
        if answer is None:
            raise Ignore  # what is stored would stay
        return answer


def register_late(app: Any, kind: AnyKind, hostname: str) -> None:
    """Make the task in a pool process in which Celery has got its tasks ready to run before."""
    register(kind)
    name = order_task(kind.order.name)
    app.tasks[name].__trace__ = build_tracer(name, app.tasks[name], app.loader, hostname, app=app)


def register_name(name: str) -> None:
    """Have a main process take orders of a kind that its pool processes carry out."""

    @shared_task(name=order_task(name))
    def carry_out(message: object) -> NoReturn:
        raise NotImplementedError(f"an order {name!r} came to a process that carries out none")


for _kind in KINDS.values():
    register(_kind)
