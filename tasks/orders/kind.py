"""A kind of orders: what the order says, and what a client does with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tasks.errors import ConfigurationError
from tasks.messages import Order, Response

C = TypeVar("C")
O = TypeVar("O", bound=Order)  # noqa: E741
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True, slots=True)
class OrderKind(Generic[C, O]):
    """A kind of orders.

    Attributes:
        order: Its schema.
        handle: Carries an order out at a client, and returns what answers it (:meth:`Order.respond`). The client has a
            ``client_id``, a ``workload``, its ``data`` (:class:`tasks.workload.ClientData`) and a ``folder``.
        spec: How a user's own was named when it was loaded, as ``module:name``; empty: it is built in.

    Raises:
        ConfigurationError: If the schema isn't one, or its name can't be a task's.
    """

    order: type[O]
    handle: Callable[[C, O], Response]
    spec: str = ""

    def __post_init__(self) -> None:
        if not (isinstance(self.order, type) and issubclass(self.order, Order)):
            raise ConfigurationError(f"OrderKind(order={self.order!r}): a subclass of Order is needed")
        name = getattr(self.order, "name", None)
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise ConfigurationError(
                f"{self.order.__name__}.name is {name!r}: 1 to 40 of a-z, 0-9 and '_' are allowed, a letter first"
            )


AnyKind = OrderKind[Any, Any]
