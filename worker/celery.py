"""What ``celery -A worker worker`` finds: a client, or many of them, that join the federation by themselves.

The worker's main process loads the workload and the data, so that every pool process has them from the start; it
keeps up the heartbeat; pool processes carry out the orders. For one client there is one of them; many clients share as
many as there are cores. Celery's prefork pool it is in any case, so that soft time limits work.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import billiard.pool
from celery import signals

from tasks.announcement import Announcement
from tasks.broker import connection
from tasks.broker.app import make_app, transport_options
from tasks.broker.presence import LIFETIME_HEARTBEATS
from tasks.described import described
from tasks.errors import FederationError
from tasks.logs import set_up_worker
from tasks.messages import readable
from tasks.pool_process import start_pool_process
from worker import compute
from worker.handlers import load_kinds
from worker.heartbeat import Heartbeat
from worker.serving import Serving, load_clients, take_clients
from worker.settings import ClientSettings
from worker.tasks import register

logger = logging.getLogger(__name__)


@contextmanager
def _said_at_once() -> Iterator[None]:
    """End this process with one line that says what is wrong, after the traceback of what a user's code raised.

    Celery swallows what a signal's handler raises: the worker would stay, and be no client.
    """
    try:
        yield
    except FederationError as error:
        if error.__cause__ is not None:
            logger.exception("the client can't start")
        _end(str(error), error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # the boundary: whatever it was
        logger.exception("the client can't start")
        _end(described(error), 1)


def _end(message: str, exit_code: int) -> None:
    sys.stderr.write(f"error: {readable(message)}\n")
    sys.exit(exit_code)


with _said_at_once():
    settings = ClientSettings.from_environment()
app = make_app(
    "worker",
    settings.broker_url,
    include=("worker.tasks",),
    worker_concurrency=settings.num_processes,
    worker_pool="tasks.pool:TaskPool",
)
app.serving = Serving()
signals.after_setup_logger.connect(set_up_worker)


@signals.celeryd_init.connect
def _begin(conf: Any, **_: object) -> None:
    """Take the clients' identities, and go on when the worker has its logs and queues."""
    with _said_at_once():
        served = take_clients(settings)
    conf.broker_transport_options = transport_options(served.queue)

    def prepare(instance: Any, **_: object) -> None:
        """Load what the clients have, and consume their own queue and no other."""
        with _said_at_once():
            for kind in load_kinds(settings.allowed.orders):
                register(kind)
            announcements = load_clients(settings, served, app.serving)
        instance.app.amqp.queues.select([served.queue])
        signals.worker_ready.connect(lambda **_: _join(announcements), weak=False)

    signals.celeryd_after_setup.connect(prepare, weak=False)


def _join(announcements: Sequence[Announcement]) -> None:
    # A sign of life that isn't taken as long as an announcement lives is given again, on a new connection.
    timeout_s = min(settings.heartbeat_s * LIFETIME_HEARTBEATS, connection.CHUNK_TIMEOUT_S)
    client = connection.connect(settings.broker_url, retries=0, timeout_s=timeout_s)
    heartbeat = Heartbeat(client, announcements)
    heartbeat.start()
    signals.worker_shutting_down.connect(lambda **_: heartbeat.leave(), weak=False)
    signals.worker_shutdown.connect(lambda **_: heartbeat.stop(), weak=False)


@signals.worker_process_init.connect
def _start_pool_process(**_: object) -> None:
    start_pool_process()
    # A process that ends makes sure that its last answer was taken. When its worker is told to end just as an order
    # comes in, that can't be, and it would wait for half a minute (tenths of a second).
    billiard.pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = 20
    if settings.num_processes == 1:
        compute.use_all_threads()
