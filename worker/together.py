"""Orders that come together, by one message: carried out one after the other, each in its own time, each answered.

Celery's limits are those of a task, here those of all together, so each order has limits of its own beside them. At its
timeout this process gets the signal that Celery's soft limit sends. A second later it ends, with a trace of where it is
stuck. Celery tells of that, and the orchestrator sends those orders again that weren't answered, each by itself.
"""

from __future__ import annotations

import faulthandler
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tasks.messages import Order

MOST_TOGETHER = 32
"""Orders that one message may bring."""
HOLD_S = 0.02
"""Seconds for which answers are held to go out together, so that the orchestrator is woken by several at a time."""


@contextmanager
def limits(order: Order) -> Iterator[None]:
    """Send this process the signal of a soft limit at an order's timeout, and end it at its hard limit.

    Only in the main thread of a pool's process, as it ends the process.
    """
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGUSR1))
    signal.setitimer(signal.ITIMER_REAL, order.timeout_s)
    faulthandler.dump_traceback_later(order.hard_limit_s, exit=True, file=sys.__stderr__ or sys.stderr)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0.0)


def answer_each(
    messages: Sequence[object],
    carry_out: Callable[[object, str], dict[str, object] | None],
    store: Callable[[str, dict[str, object]], None],
) -> None:
    """Carry out orders, and store what answers them, before others that take long are begun.

    Args:
        messages: The orders as they came.
        carry_out: Returns what answers an order, given its id as it says it; None: nobody waits for an answer.
        store: Stores the answer to the order of an id.
    """
    held: dict[str, dict[str, object]] = {}
    since = time.monotonic()

    def give() -> None:
        for order_id, answer in held.items():
            store(order_id, answer)
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
