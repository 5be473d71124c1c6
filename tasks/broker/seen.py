"""What Celery's own tools (``celery status``, ``inspect``, ``events``, Flower) see of a worker: they may only look.

Whoever reaches the broker can send a broadcast. So a worker answers questions, and tells of its tasks if it is asked
to; it takes no command by which somebody could end it or a task, or have it do something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from celery.app.control import Control
from celery.apps.worker import Worker
from kombu.pidbox import Mailbox, Node

ANSWERED = frozenset({
    "ping", "hello", "clock", "stats", "conf", "report", "registered", "active_queues",
    "active", "reserved", "scheduled", "revoked", "query_task", "enable_events", "disable_events",
})  # fmt: skip
"""The broadcasts that a worker heeds."""


class LookingMailbox(Mailbox):
    """Where broadcasts come in."""

    def Node(  # noqa: N802  # kombu's name for it
        self,
        hostname: str | None = None,
        state: Any = None,
        channel: Any = None,
        handlers: Mapping[str, Callable[..., Any]] | None = None,
    ) -> Node:
        """Return what answers them, those of ``handlers`` that only look."""
        heeded = {name: handler for name, handler in (handlers or {}).items() if name in ANSWERED}
        node: Node = super().Node(hostname, state, channel, heeded)
        return node


class LookingControl(Control):
    """Celery's remote control, at both ends."""

    Mailbox = LookingMailbox


class SeenWorker(Worker):
    """A worker that Celery's tools see."""

    def prepare_args(self, **kwargs: Any) -> dict[str, Any]:
        """Leave out what workers tell each other; what this one tells is that it is there, every two seconds."""
        return {**kwargs, "without_mingle": True, "without_gossip": True}
