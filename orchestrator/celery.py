"""What ``celery -A orchestrator worker`` finds: a worker for the orchestrator's own tasks.

Any number of them may run, on any machine that shares the run's folder; where that isn't, and models and updates are in
an object store, they take the tasks that need no folder. Each run has queues of its own. A worker is for one run
(``ORCHESTRATOR_RUN``), or takes the tasks of all runs that are on.
"""

from __future__ import annotations

import gc
import os

gc.disable()  # what is imported stays: to look through it for garbage, at the end again, takes a third of a second
# Before NumPy is imported: sums of several threads differ from one's in their last bits, and processes compute already.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import contextlib
import logging
import resource
import secrets
import sys
from collections.abc import Iterator
from typing import Any

from celery import signals
from celery.worker import state
from redis.exceptions import RedisError

from orchestrator.jobs.elsewhere import remove_folders
from orchestrator.jobs.job import Loaded
from orchestrator.tracing import follow_jobs
from orchestrator.transport.crew import Crew
from orchestrator.transport.elsewhere import give_sign, take_leave
from orchestrator.trust.reaching import reach
from orchestrator.usable_runs import Reach, UsableRuns
from tasks.blobs.stores import open_store
from tasks.broker import connection, needs, run_lock
from tasks.broker.app import make_app
from tasks.broker.probe import PROBED_VARIABLE, check_broker
from tasks.errors import BrokerUnreachableError, FederationError
from tasks.logs import set_up_worker
from tasks.names import RUN_VARIABLE
from tasks.plugins import add_current_folder
from tasks.pool_process import give_back_freed_memory, start_pool_process
from tasks.scope import ORCHESTRATOR_QUEUE
from tasks.workload import BUILT_IN, load_workload

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def _said_in_a_line() -> Iterator[None]:
    """End this process with one line that says what is wrong."""
    try:
        yield
    except FederationError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)


with _said_in_a_line():
    _url, _ = reach(connection.named_broker())

FOLLOW_S = 1.0
"""Seconds between two looks which runs are on."""

app = make_app(
    "orchestrator",
    _url,
    include=("orchestrator.tasks",),
    is_seen=True,
    worker_pool="tasks.pool:TaskPool",
    result_backend="orchestrator.transport.chords:ChordBackend",
)
signals.after_setup_logger.connect(set_up_worker)
follow_jobs()


@signals.celeryd_init.connect
def _look_at_broker(**_: object) -> None:
    """End with one line if the broker won't do; one that can't be reached is waited for.

    The worker that a run starts doesn't look: the run has, and has it started anew in the middle of a failover, too.
    """
    if os.environ.get(PROBED_VARIABLE):
        return
    with _said_in_a_line(), contextlib.suppress(BrokerUnreachableError):
        check_broker(_url, needs.of_orchestrator("run"))


@signals.celeryd_after_setup.connect
def _prepare(instance: Any, **_: object) -> None:
    """Consume the run's queues and no others; have a built-in workload ready for every pool process.

    A user's own is left to them: it may start threads, as JAX does, which pool processes forked afterwards don't have.
    """
    add_current_folder()
    preload = os.environ.get("ORCHESTRATOR_PRELOAD", "")
    if preload.partition(",")[0] in BUILT_IN:
        with contextlib.suppress(FederationError):  # the run's first task says what is wrong with it
            load_workload(preload)
    run_id = os.environ.get(RUN_VARIABLE)
    instance.app.amqp.queues.select(sorted(Reach.FOLDER.queues(run_id)) if run_id else [ORCHESTRATOR_QUEUE])
    gc.freeze()  # what was imported since, too


@signals.worker_ready.connect
def _follow_runs(sender: Any, **_: object) -> None:
    """Consume the queues of all runs that are on and that the worker can work for, if it is for none alone."""
    if os.environ.get(RUN_VARIABLE):
        return
    remove_folders()  # those of workers that were killed
    client, own_name = connection.connect_quickly(_url), f"{sender.hostname}/{secrets.token_hex(8)}"
    usable, elsewhere, consumed = UsableRuns(client), set[str](), set[str]()

    def look() -> None:
        with contextlib.suppress(RedisError, OSError):  # the next look will tell
            reach_of = {notice.run_id: usable.reach(notice.run_id) for notice in run_lock.read_all(client)}
            elsewhere.clear()
            elsewhere.update(run_id for run_id, how in reach_of.items() if how is Reach.STORE)
            for run_id in elsewhere:
                give_sign(client, run_id, own_name)
            queues = {queue for run_id, how in reach_of.items() for queue in how.queues(run_id)}
            for queue in queues - consumed:
                sender.add_task_queue(queue)
            for queue in consumed - queues:
                sender.cancel_task_queue(queue)
            consumed.clear()
            consumed.update(queues)

    def leave(**_: object) -> None:
        remove_folders(of_this_worker=True)
        with contextlib.suppress(RedisError, OSError):
            for run_id in elsewhere if state.should_terminate is None else ():  # else tasks are lost
                take_leave(client, run_id, own_name)

    look()
    sender.timer.call_repeatedly(FOLLOW_S, look)
    signals.worker_shutdown.connect(leave, weak=False)


def _open_many_files() -> None:
    """Allow as many open files as may be: the updates of a round are memory maps, one file each."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@signals.worker_process_init.connect
def _start_pool_process(**_: object) -> None:
    start_pool_process()
    _open_many_files()
    app.loaded = Loaded(open_store, _url, Crew(app))


@signals.task_postrun.connect
def _end_task(**_: object) -> None:
    """Hold no memory while there is nothing to do: the models are in files."""
    give_back_freed_memory()


gc.freeze()
gc.enable()
