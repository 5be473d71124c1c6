"""What a client does with an order of each kind: ``handle`` in a file of its own, found here by the kind's name.

A kind is two files, ``tasks/orders/NAME.py`` with what the order says and ``worker/handlers/NAME.py`` with what the
client does, and its line below. A user's own kind is an ``OrderKind`` in a module of the user's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from tasks.errors import ConfigurationError, LoadError
from tasks.messages import Order, Response
from tasks.orders.disconnect import DisconnectOrder
from tasks.orders.evaluate import EvaluateOrder
from tasks.orders.kind import AnyKind, OrderKind
from tasks.orders.set_parameters import SetParametersOrder
from tasks.orders.statistics import StatisticsOrder
from tasks.orders.survey import SurveyOrder
from tasks.orders.train import TrainOrder
from tasks.orders.verify import VerifyOrder
from tasks.plugins import load
from tasks.user_code import UserCodeError, user_code
from worker.client import Client
from worker.handlers import disconnect, evaluate, set_parameters, statistics, survey, train, verify

_KINDS: tuple[AnyKind, ...] = (
    OrderKind(SurveyOrder, survey.handle),
    OrderKind(TrainOrder, train.handle),
    OrderKind(EvaluateOrder, evaluate.handle),
    OrderKind(VerifyOrder, verify.handle),
    OrderKind(SetParametersOrder, set_parameters.handle),
    OrderKind(StatisticsOrder, statistics.handle),
    OrderKind(DisconnectOrder, disconnect.handle),
)
KINDS: Mapping[str, AnyKind] = {kind.order.name: kind for kind in _KINDS}


def load_kinds(specs: Iterable[str]) -> list[AnyKind]:
    """Return the kinds of orders that ``module:name`` of users name; what they raise or return wrongly is told.

    Raises:
        ConfigurationError: If one can't be loaded, or has the name of another.
    """
    found: dict[str, AnyKind] = {}
    for spec in specs:
        kind = load("order kind", spec, {})
        if not isinstance(kind, OrderKind):
            raise LoadError(f"order kind {spec!r} is {type(kind).__name__}: an OrderKind(order=…, handle=…) is needed")
        name = kind.order.name
        if name in KINDS or name in found:
            raise ConfigurationError(f"order kind {spec!r}: its name {name!r} is taken, call it something else")
        found[name] = replace(kind, handle=_checked(kind), spec=spec)
    return list(found.values())


def _checked(kind: AnyKind) -> Callable[[Client, Order], Response]:
    def handle(client: Client, order: Order) -> Response:
        client.check_workload(order)
        with user_code(f"the order {order.name}"):
            response: object = kind.handle(client, order)
        if not isinstance(response, Response):
            raise UserCodeError(
                f"the order {order.name} returned {type(response).__name__}: order.respond(…) is needed"
            )
        return response

    return handle
