"""The Celery tasks of a client, one a kind of orders: each decodes its order, has it carried out, encodes the answer.

Celery gives a task nothing but its message. So the process's clients are with the app that it runs under, as the
attribute ``serving``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NoReturn

from celery import shared_task
from celery.app.trace import build_tracer
from celery.exceptions import Ignore

from tasks.errors import FederationError
from tasks.messages import READY, Response, decode, encode
from tasks.names import order_task
from tasks.orders.kind import AnyKind
from worker.handlers import KINDS
from worker.serving import Serving

STALE_S = 2.0
"""Seconds after an order's deadline at which its slot is surely filled: by then nobody waits for an answer."""


def _is_stale(serving: Serving, client_id: str, deadline: object) -> bool:
    """Say whether an order came so late, by a worker that was away, that its round has been closed without it."""
    try:
        client = serving.find(client_id)
    except (LookupError, FederationError):  # carrying the order out says what is wrong
        return False
    return isinstance(deadline, int | float) and client.connection.time() > deadline + STALE_S


def register(kind: AnyKind) -> None:
    """Make the task that carries out orders of a kind."""

    @shared_task(name=order_task(kind.order.name), bind=True)
    def carry_out(self: Any, message: object) -> dict[str, object]:
        serving: Serving = self.app.serving
        said = message if isinstance(message, dict) else {}
        client_id = str(said.get("client_id"))[:64]
        if _is_stale(serving, client_id, said.get("deadline")):
            raise Ignore  # nobody waits for the answer, and what is stored would stay

        def act() -> Response:
            if serving.site is not None:
                serving.site.check_order(kind.order.name, message, self.request.id)
            client = replace(serving.find(client_id), say_ready=lambda: self.update_state(state=READY))
            order = decode(kind.order, message)
            client.check_size(order)
            return client.allowed.policy.carry_out(order, client, lambda: kind.handle(client, order), kind.spec)

        answer = encode(serving.carry_out(act, self.request.id, client_id))
        return answer if serving.site is None else serving.site.signed_answer(answer)


def register_late(app: Any, kind: AnyKind, hostname: str) -> None:
    """Make the task in a pool process in which Celery has got its tasks ready to run before."""
    register(kind)
    name = order_task(kind.order.name)
    app.tasks[name].__trace__ = build_tracer(name, app.tasks[name], app.loader, hostname, app=app)


def register_name(name: str) -> None:
    """Have a main process take orders of a kind that its pool processes carry out."""

    @shared_task(name=order_task(name))
    def carry_out(message: dict[str, object]) -> NoReturn:
        raise NotImplementedError(f"an order {name!r} came to a process that carries out none")


for _kind in KINDS.values():
    register(_kind)
