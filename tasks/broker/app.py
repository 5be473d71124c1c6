"""The Celery app, set up so that a worker lives through whatever happens to its connection.

Each side makes its own with :func:`make_app`; no app is made by importing this module.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from celery import Celery
from celery.apps.worker import Worker
from kombu.utils.objects import cached_property
from redis.exceptions import OutOfMemoryError

from tasks.broker.connection import COMMAND_TIMEOUT_S, CONNECT_TIMEOUT_S
from tasks.broker.over_kombu import RESTORES
from tasks.broker.seen import SeenWorker
from tasks.broker.url import OPTION, URL_VARIABLE, Broker

IN_MEMORY = "memory://"
HEALTH_CHECK_S = 5
"""Seconds between two looks of a worker at the connection on which it waits for orders. The broker says every second
that there is none; where it was silent for one look and a second, the worker connects anew. An order that is on its way
on the connection that is given up is lost, so by then a client's announcement should have expired (its default: 5)."""


_TRANSPORT_OPTIONS: dict[str, object] = {
    # What a worker has taken isn't noted at the broker: who has sent it notices that it is lost with the worker, and
    # sends it again.
    "ack_emulation": False,
    "priority_steps": (0,),  # nothing comes before other things: a queue is one list, with one key
    "socket_connect_timeout": CONNECT_TIMEOUT_S,
    # After a cut of the network a connection may be dead without anybody having said so. Without these two a worker
    # would wait on it for ever for the answer to a command, and for 51 seconds for its next order; so it is 5 seconds
    # and 11.
    "socket_timeout": COMMAND_TIMEOUT_S,
    "health_check_interval": HEALTH_CHECK_S,
    # A task is lost if it can't be put on its queue: when the connection for that turns out to be dead, it is done
    # again on a new one.
    "retry_on_timeout": True,
    "socket_keepalive": True,
}
"""Kombu's settings for Redis."""


class QuietWorker(Worker):
    """A worker that doesn't talk to other workers: clients are no business of each other's."""

    def prepare_args(self, **kwargs: Any) -> dict[str, Any]:
        """Leave out the exchange with other workers at the start (mingle), and all events (gossip, heartbeat).

        A heartbeat that finds the broker gone tries until it is there again, and has the worker do nothing else.
        """
        return {**kwargs, "without_mingle": True, "without_gossip": True, "without_heartbeat": True}


class FederationApp(Celery):
    """A Celery app of :class:`QuietWorker`, or of :class:`SeenWorker` where it takes broadcasts.

    Attributes:
        loaded: What a process of the orchestrator's keeps from job to job.
        serving: The clients of this process, at their side. Celery gives a task nothing but its message and the app.
        loading: How they are loaded. Celery gives a pool nothing but the app.
    """

    control_cls = "tasks.broker.seen:LookingControl"
    loaded: Any = None
    serving: Any = None
    loading: Any = None

    @cached_property
    def Worker(self) -> type[Worker]:  # noqa: N802  # Celery's name for it
        """The class that ``celery worker`` runs."""
        kind = SeenWorker if self.conf.worker_enable_remote_control else QuietWorker
        worker: type[Worker] = self.subclass_with_self(kind, name="Worker")
        return worker


def make_app(
    name: str, url: str, include: tuple[str, ...], *, restores: bool = True, is_seen: bool = False, **extra: object
) -> FederationApp:
    """Return an app that talks JSON over the Redis at ``url``.

    Args:
        name: The app's name.
        url: The broker's URL; results go there too. ``IN_MEMORY``: they stay in this process.
        include: Modules with the bodies of the tasks, imported when a worker starts.
        restores: Whether a worker that ends puts back on its queue what it has taken from there and not begun.
        is_seen: Whether Celery's tools (``celery status``, Flower) see its workers.
        extra: Further Celery settings, or others than these.
    """
    settings = _in_memory() if url == IN_MEMORY else _at_redis(Broker.read(url), restores)
    _settle_url(url, settings["broker_url"])
    # Celery logs each task twice, its result written out; a task is an order or a slot, which have logs of their own.
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)
    app = FederationApp(name, include=list(include), set_as_current=False)
    app.conf.update(
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        # A worker takes one order at a time and acknowledges it at once: nothing is redelivered while it trains,
        # and a lost connection doesn't end a worker that holds an order (celery 5.7).
        # That it takes one at a time is for worker_disable_prefetch alone to see to. A prefetch count would count an
        # order whose acknowledgement an outage swallowed for ever, and the worker would never take another.
        task_acks_late=False,
        worker_prefetch_multiplier=0,
        worker_disable_prefetch=True,
        # Outages end: a worker tries for as long as it takes, and keeps a result until it is stored.
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,  # whatever the server refuses, a worker connects anew and asks again
        result_backend_always_retry=True,
        result_backend_max_sleep_between_retries_ms=1000,
        redis_socket_connect_timeout=CONNECT_TIMEOUT_S,
        redis_socket_timeout=COMMAND_TIMEOUT_S,
        redis_retry_on_timeout=True,
        result_expires=24 * 3600,
        task_store_eager_result=False,
        task_eager_propagates=True,
        task_annotations={"*": {"resultrepr_maxsize": 1}},  # it is for the log lines that are switched off above
        worker_enable_remote_control=is_seen,
        worker_send_task_events=False,
        worker_hijack_root_logger=True,
        worker_proc_alive_timeout=60,
        **{**settings, **extra},
    )
    return app


def _in_memory() -> dict[str, Any]:
    return {"broker_url": IN_MEMORY, "result_backend": "cache+memory://"}


def _at_redis(broker: Broker, restores: bool) -> dict[str, Any]:
    """Return the settings that say where Celery's messages and results go, and who connects to there."""
    return {
        "broker_url": "socket:///PATH" if broker.socket else "redis:///",  # the broker itself is in the options
        "broker_transport": "tasks.broker.over_kombu:Transport",
        "broker_transport_options": {OPTION: broker, RESTORES: restores, **_TRANSPORT_OPTIONS},
        "result_backend": "tasks.broker.over_kombu:Backend",
        "result_backend_transport_options": {
            OPTION: broker,
            # A result that the broker has no memory for is stored again and again, as when the broker is away.
            "additional_connection_errors": [OutOfMemoryError],
        },
    }


def _settle_url(url: str, shown: str) -> None:
    """Have this process and its children use this broker: Celery puts its own variables above an app's settings.

    Args:
        url: What they, and nobody else, read.
        shown: What Celery is told, which is next to nothing.
    """
    os.environ.pop("CELERY_RESULT_BACKEND", None)
    os.environ.update({URL_VARIABLE: url, "CELERY_BROKER_READ_URL": shown, "CELERY_BROKER_WRITE_URL": shown})
