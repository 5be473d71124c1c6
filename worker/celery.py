"""What ``celery -A worker worker`` finds: a client, or many of them, that join the federation by themselves.

The worker's main process keeps up the heartbeat; pool processes load the workload and the data, and carry out the
orders. For one client there is one of them; many clients share as many as there are cores. In a pool of another kind,
which ``--pool`` may name, the main process loads it all.
"""

from __future__ import annotations

import gc

gc.disable()  # what is imported stays: to look through it for garbage, at the end again, takes a third of a second

import logging
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import billiard.pool
from celery import signals
from celery.concurrency import prefork, solo
from redis import Redis

from tasks.announcement import Announcement
from tasks.broker import connection, needs
from tasks.broker.app import make_app
from tasks.broker.presence import LIFETIME_HEARTBEATS
from tasks.broker.probe import check_broker
from tasks.errors import BrokerUnreachableError
from tasks.logs import set_up_worker
from tasks.pool_process import start_pool_process
from tasks.tracing import is_asked_for
from tasks.trust.enrolment import Enrolment
from worker.ending import said_at_once
from worker.heartbeat import Heartbeat
from worker.loading import Loader
from worker.pool import Loading, LoadingPool, begin_anew
from worker.reminder import keep_reminding
from worker.serving import Serving, take_clients
from worker.settings import ClientSettings
from worker.together import MOST_TOGETHER
from worker.tracing import follow_orders

logger = logging.getLogger(__name__)

POOLS = {"spawn": "worker.pool:LoadingPool", "fork": "tasks.pool:TaskPool", "solo": "solo"}
"""Start method -> Celery's name of the pool, unless ``--pool`` names another."""
RELOAD_TIMEOUT_S = 3600
"""Seconds that a pool process may take to load that is made in the place of one that was killed."""

with said_at_once():
    settings = ClientSettings.from_environment()
app = make_app(
    "worker",
    settings.broker_url,
    include=("worker.tasks",),
    restores=False,  # who is started again is sent again what it hasn't begun
    worker_concurrency=settings.num_processes,
    worker_pool=POOLS[settings.start_method or "spawn"],
)
app.conf.worker_proc_alive_timeout = RELOAD_TIMEOUT_S
app.conf.redis_retry_on_timeout = False  # whoever uses these connections tries again
app.serving = Serving()
follow_orders()
signals.after_setup_logger.connect(set_up_worker)


@signals.celeryd_init.connect
def _begin(**_: object) -> None:
    """Take the clients' identities, and go on when the worker has its logs and queues."""
    with said_at_once():
        served = take_clients(settings)
        with suppress(BrokerUnreachableError):  # the worker waits for it, for as long as it takes
            check_broker(settings.broker_url, needs.of_client(next(iter(served.folders)), served.queue))

    def prepare(instance: Any, **_: object) -> None:
        """Consume the clients' own queue and no other; load what they have, if pool processes don't."""
        is_solo, is_prefork = (issubclass(instance.pool_cls, pool.TaskPool) for pool in (solo, prefork))
        chosen = settings.model_copy(update={"start_method": "solo"}) if is_solo else settings
        # What comes together has its limits kept by the process that carries it out, which is ended where it is stuck.
        # Where orders are traced, each is a task.
        may_come_together = is_prefork and bool(served.shared_queue) and not is_asked_for()
        most_together = MOST_TOGETHER if may_come_together else 1
        app.loading = Loading(Loader(chosen, served, app.serving, _connect, most_together=most_together))
        if not issubclass(instance.pool_cls, LoadingPool):
            with said_at_once():
                app.loading.load_here(forks=is_prefork)
        instance.app.amqp.queues.select([served.queue])
        outlives_terminal = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN

        def join(**_: object) -> None:
            _set_hangup(outlives_terminal)
            _join(app.loading.announcements)

        signals.worker_ready.connect(join, weak=False)

    signals.celeryd_after_setup.connect(prepare, weak=False)


def _connect(**how: Any) -> Redis:
    """Return a client for the broker on the connections by which this process stores answers, one at a time."""
    backend: Any = app.backend
    return connection.share(backend.client.connection_pool, **how)


def _set_hangup(outlives_terminal: bool) -> None:
    """Take SIGHUP as SIGTERM, or not at all, as ``nohup`` has it.

    Celery, a moment ago, has had it start a worker anew whose output is no terminal.
    """
    ending = signal.SIG_IGN if outlives_terminal else lambda *_: os.kill(os.getpid(), signal.SIGTERM)
    signal.signal(signal.SIGHUP, ending)


def _join(announcements: Sequence[Announcement]) -> None:
    # A sign of life that isn't taken as long as an announcement lives is given again, on a new connection.
    timeout_s = min(settings.heartbeat_s * LIFETIME_HEARTBEATS, connection.CHUNK_TIMEOUT_S)
    client = connection.connect(settings.broker_url, retries=0, timeout_s=timeout_s)
    heartbeat = Heartbeat(client, announcements, settings.site)
    heartbeat.start()
    if settings.enrolment is not None:
        keep_reminding(Enrolment(settings.enrolment))
    else:
        logger.warning("who reaches the broker can give this client orders, as it isn't enrolled: docs/enrolment.md")
    signals.worker_shutting_down.connect(lambda **_: heartbeat.leave(), weak=False)

    def stop(sender: Any, **_: object) -> None:
        heartbeat.stop()
        sender.exitcode = heartbeat.exit_code or sender.exitcode
        if heartbeat.begins_anew:
            begin_anew()

    signals.worker_shutdown.connect(stop, weak=False)


@signals.worker_process_init.connect
def _start_pool_process(sender: str, **_: object) -> None:
    if app.loading is None:
        return  # in the main process: a pool without others
    start_pool_process()
    # A process that ends makes sure that its last answer was taken. When its worker is told to end just as an order
    # comes in, that can't be, and it would wait for half a minute (tenths of a second).
    billiard.pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = 20
    app.loading.load_in_pool_process(app, sender)


gc.freeze()
gc.enable()
