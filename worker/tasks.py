"""The Celery tasks of a client: each decodes its order, has the client carry it out, and encodes the answer.

Celery gives a task nothing but its message. So the process's clients are with the app that it runs under, as the
attribute ``serving``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from celery import shared_task
from celery.exceptions import Ignore

from tasks import names
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
    VerifyOrder,
    decode,
    encode,
)
from worker.client import Client
from worker.serving import Serving

O = TypeVar("O", bound=Order)  # noqa: E741


@shared_task(name=names.SURVEY_TASK, bind=True)
def survey(self: Any, message: dict[str, object]) -> dict[str, object]:
    """Carry out a :class:`SurveyOrder`."""

    def act(client: Client, order: SurveyOrder) -> Response:
        return client.survey(order, lambda: self.update_state(state=READY))

    return _execute(self, message, SurveyOrder, act)


@shared_task(name=names.TRAIN_TASK, bind=True)
def train(self: Any, message: dict[str, object]) -> dict[str, object]:
    """Carry out a :class:`TrainOrder`."""

    def act(client: Client, order: TrainOrder) -> Response:
        return client.train(order, lambda: self.update_state(state=READY))

    return _execute(self, message, TrainOrder, act)


@shared_task(name=names.EVALUATE_TASK, bind=True)
def evaluate(self: Any, message: dict[str, object]) -> dict[str, object]:
    """Carry out an :class:`EvaluateOrder`."""
    return _execute(self, message, EvaluateOrder, Client.evaluate)


@shared_task(name=names.VERIFY_TASK, bind=True)
def verify(self: Any, message: dict[str, object]) -> dict[str, object]:
    """Carry out a :class:`VerifyOrder`."""
    return _execute(self, message, VerifyOrder, Client.verify)


@shared_task(name=names.SET_PARAMETERS_TASK, bind=True)
def set_parameters(self: Any, message: dict[str, object]) -> dict[str, object]:
    """Carry out a :class:`SetParametersOrder`."""
    return _execute(self, message, SetParametersOrder, Client.set_parameters)


@shared_task(name=names.DISCONNECT_TASK, bind=True)
def disconnect(self: Any, message: dict[str, object]) -> dict[str, object]:
    """Carry out a :class:`DisconnectOrder`."""
    return _execute(self, message, DisconnectOrder, Client.disconnect)


STALE_S = 2.0
"""Seconds after an order's deadline at which its slot is surely filled: by then nobody waits for an answer."""


def _is_stale(serving: Serving, client_id: str, deadline: object) -> bool:
    """Say whether an order came so late, by a worker that was away, that its round has been closed without it."""
    try:
        client = serving.find(client_id)
    except (LookupError, FederationError):  # carrying the order out says what is wrong
        return False
    return isinstance(deadline, int | float) and client.connection.time() > deadline + STALE_S


def _execute(
    task: Any, message: dict[str, object], kind: type[O], method: Callable[[Client, O], Response]
) -> dict[str, object]:
    serving: Serving = task.app.serving
    client_id = str(message.get("client_id"))[:64]
    if _is_stale(serving, client_id, message.get("deadline")):
        raise Ignore  # nobody waits for the answer, and what is stored would stay

    def act() -> Response:
        return method(serving.find(client_id), decode(kind, message))

    return encode(serving.carry_out(act, task.request.id, client_id))
