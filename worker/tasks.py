"""The Celery tasks of a client: each decodes its order, has the client carry it out, and encodes the answer.

Celery gives a task nothing but its message. So the process's clients are with the app that it runs under, as the
attribute ``serving``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery import shared_task
from celery.exceptions import Ignore

from tasks.errors import FederationError
from tasks.messages import (
    READY,
    DisconnectOrder,
    EvaluateOrder,
    Order,
    Response,
    SetParametersOrder,
    SurveyOrder,
    TrainOrder,
    UpdateOrder,
    VerifyOrder,
    decode,
    encode,
)
from worker.client import Client
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


def _task(kind: type[Order], method: Callable[..., Response]) -> Any:
    """Return the task that carries out orders of a kind by a method of :class:`Client`."""

    @shared_task(name=kind.task, bind=True)
    def carry_out(self: Any, message: dict[str, object]) -> dict[str, object]:
        serving: Serving = self.app.serving
        client_id = str(message.get("client_id"))[:64]
        if _is_stale(serving, client_id, message.get("deadline")):
            raise Ignore  # nobody waits for the answer, and what is stored would stay

        def act() -> Response:
            client, order = serving.find(client_id), decode(kind, message)
            if isinstance(order, UpdateOrder):
                return method(client, order, lambda: self.update_state(state=READY))
            return method(client, order)

        return encode(serving.carry_out(act, self.request.id, client_id))

    return carry_out


survey = _task(SurveyOrder, Client.survey)
train = _task(TrainOrder, Client.train)
evaluate = _task(EvaluateOrder, Client.evaluate)
verify = _task(VerifyOrder, Client.verify)
set_parameters = _task(SetParametersOrder, Client.set_parameters)
disconnect = _task(DisconnectOrder, Client.disconnect)
