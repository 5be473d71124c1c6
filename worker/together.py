"""Orders that come together, by one message: carried out one after the other, each in its own time, each answered.

Celery's limits are those of a task, here those of all together, so each order has limits of its own beside them. At its
timeout this process gets the signal that Celery's soft limit sends. A second later it ends, with a trace of where it is
stuck. Celery tells of that, and the orchestrator sends those orders again that weren't answered, each by itself.
"""

from __future__ import annotations

import faulthandler
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from tasks.messages import Order

MOST_TOGETHER = 32
"""Orders that one message may bring."""
HOLD_S = 0.05
"""Seconds for which answers are held to go out together, so that the orchestrator is woken by several at a time."""
SLACK_S = 0.25
"""Seconds that an order's hard limit may come late: most groups are done within them, and need one watch. To set one
takes a thread, and half a millisecond where processors are busy."""

STORE_S = 60.0
"""Seconds that the broker may take to store answers while a hard limit stays: longer than it may be away."""

Answer = dict[str, object]


class Limits:
    """The limits of orders that are carried out in this process, one after the other."""

    def __init__(self) -> None:
        self._ends_at = -math.inf

    @contextmanager
    def of(self, order: Order) -> Iterator[None]:
        """Send this process the signal of a soft limit at an order's timeout, and end it at its hard limit.

        Only in the main thread of a pool's process, as it ends the process.
        """
        due = time.monotonic() + order.hard_limit_s
        if not due <= self._ends_at <= due + SLACK_S:
            self._ends_at = due + SLACK_S
            stderr = sys.__stderr__ or sys.stderr
            faulthandler.dump_traceback_later(order.hard_limit_s + SLACK_S, exit=True, file=stderr)
        signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGUSR1))
        signal.setitimer(signal.ITIMER_REAL, order.timeout_s)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)

    def lift(self, within_s: float = math.inf) -> None:
        """End this process no more, as no order is under way; what would end it later than ``within_s`` stays."""
        if self._ends_at <= time.monotonic() + within_s:
            faulthandler.cancel_dump_traceback_later()
            self._ends_at = -math.inf


def answer_each(
    messages: Sequence[object],
    carry_out: Callable[[object, str], Answer | None],
    store: Callable[[Mapping[str, Answer]], None],
) -> None:
    """Carry out orders, and store what answers them, before others that take long are begun.

    Args:
        messages: The orders as they came.
        carry_out: Returns what answers an order, given its id as it says it; None: nobody waits for an answer.
        store: Stores answers by the ids of their orders; there is at least one.
    """
    held: dict[str, Answer] = {}
    since = time.monotonic()

    def give() -> None:
        if held:
            store(held)
            held.clear()

    try:
        for message in messages:
            order_id = str(message.get("order_id") if isinstance(message, dict) else None)[:300]
            answer = carry_out(message, order_id)
            if answer is not None:
                held[order_id] = answer
            if time.monotonic() - since >= HOLD_S:
                give()
                since = time.monotonic()
    finally:
        give()
