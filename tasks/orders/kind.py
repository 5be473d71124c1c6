"""A kind of orders: what the order says, and what a client does with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tasks.messages import Order, Response

C = TypeVar("C")
O = TypeVar("O", bound=Order)  # noqa: E741


@dataclass(frozen=True, slots=True)
class OrderKind(Generic[C, O]):
    """A kind of orders.

    Attributes:
        order: Its schema.
        handle: Carries an order out at a client, and returns what answers it (:meth:`Order.respond`).
    """

    order: type[O]
    handle: Callable[[C, O], Response]


AnyKind = OrderKind[Any, Any]
