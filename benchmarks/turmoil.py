"""Clients that come, leave, freeze and die by a seeded plan: real processes, real signals."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import psutil
from redis import Redis

from tests.integration.harness import Field, Program

STOP_TIMEOUT_S = 45.0
"""Seconds that a client may take to end when it is asked to: its pool process may wait 30 of them (billiard's
``_ensure_messages_consumed``) where the request comes in the moment that it is handed an order."""
START_TIMEOUT_S = 30.0
"""Seconds that a client may take to join."""
SETTLE_S = 2.0
"""Seconds after which a client that joined, was thawed, or lost its pool process is reckoned upon again."""
STEP_S = 0.02
SLOW_STEP_S = 0.5
"""Seconds of a step of a slow client: five of them are more than the timeout."""


class Kind(StrEnum):
    """What happens to a client."""

    NOTHING = "nothing"
    START = "start"
    STOP = "stop"
    KILL = "kill"
    FREEZE = "freeze"
    KILL_CHILD = "kill pool process"


_WEIGHTS = {
    Kind.NOTHING: 3.0, Kind.START: 4.0, Kind.STOP: 1.0, Kind.KILL: 1.0, Kind.FREEZE: 1.5, Kind.KILL_CHILD: 1.5,
}  # fmt: skip
_SLOW_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens after a round was closed.

    Attributes:
        kind: What.
        preference: Client ids; it happens to the first that it can happen to.
        delay_s: Seconds after the round was closed.
        freeze_s: Seconds that a client is frozen.
        step_s: Seconds of a training step of a client that is started.
    """

    kind: Kind
    preference: tuple[str, ...]
    delay_s: float
    freeze_s: float
    step_s: float


def plan(seed: int, rounds: int, client_ids: Sequence[str]) -> list[Event]:
    """Return an event for each of so many rounds; the same for the same seed."""
    rng = random.Random(seed)  # noqa: S311  # no secret
    return [
        Event(
            kind=rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0],
            preference=tuple(rng.sample(list(client_ids), len(client_ids))),
            delay_s=rng.uniform(0.0, 0.3),
            freeze_s=rng.uniform(0.1, 3.0),
            step_s=SLOW_STEP_S if rng.random() < _SLOW_SHARE else STEP_S,
        )
        for _ in range(rounds)
    ]


class State(StrEnum):
    """What a client is doing."""

    OFF = "off"
    STARTING = "starting"
    UP = "up"
    FROZEN = "frozen"
    STOPPING = "stopping"


@dataclass
class Client:
    """A client id, the process that has it now, and what that is doing."""

    client_id: str
    part: str
    program: Program = dataclasses.field(init=False)
    state: State = State.OFF
    is_slow: bool = False
    until: float = 0.0
    """When the state must be over; of a client that is up, when it is reckoned upon."""

    def become(self, state: State, seconds: float = 0.0) -> None:
        """Note what it is doing now, and for how long."""
        self.state, self.until = state, time.monotonic() + seconds

    def is_steady(self) -> bool:
        """Say whether it can be relied upon to train the next round."""
        return self.state is State.UP and time.monotonic() >= self.until


@dataclass
class Crowd:
    """The clients, and what befalls them.

    Attributes:
        field: Starts them.
        broker: The broker.
        heartbeat_s: Their heartbeat.
        client_ids: All that there ever are.
        counts: Kind of event -> how often it happened.
        problems: What went wrong with them that was not asked for.
    """

    field: Field
    broker: Redis
    heartbeat_s: float
    client_ids: Sequence[str]
    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    problems: list[str] = dataclasses.field(default_factory=list)
    _due: list[tuple[float, Event]] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        count = len(self.client_ids)
        self._clients = {name: Client(name, f"{i + 1}/{count}") for i, name in enumerate(self.client_ids)}

    def begin(self, num: int) -> None:
        """Start the first ``num`` clients."""
        for client_id in self.client_ids[:num]:
            self._start(self._clients[client_id], STEP_S)

    def schedule(self, event: Event) -> None:
        """Have an event happen when it is due."""
        self._due.append((time.monotonic() + event.delay_s, event))

    def poll(self) -> None:
        """Carry out what is due, and see what became of the clients."""
        for client in self._clients.values():
            self._look_after(client)
        now = time.monotonic()
        due = [event for at, event in self._due if at <= now]
        self._due = [(at, event) for at, event in self._due if at > now]
        for event in due:
            self._happen(event)

    def calm(self) -> list[Client]:
        """Let nothing more happen, thaw who is frozen, and return those that can be relied upon."""
        self._due.clear()
        for client in self._clients.values():
            if client.state is State.FROZEN:
                self._thaw(client)
        return [client for client in self._clients.values() if client.is_steady()]

    def _happen(self, event: Event) -> None:
        if event.kind is Kind.NOTHING:
            return
        client = next((client for client in self._preferred(event) if self._can_happen(event.kind, client)), None)
        if client is None:
            self.counts["passed over"] += 1
            return
        self._act(client, event)
        self.counts[event.kind] += 1
        self._write_down(f"{event.kind.value} {client.client_id}")

    def _preferred(self, event: Event) -> list[Client]:
        """Return the clients by the event's preference, slow ones first: they make every round long."""
        return sorted(
            (self._clients[client_id] for client_id in event.preference), key=lambda client: not client.is_slow
        )

    def _write_down(self, line: str) -> None:
        now = datetime.now().isoformat(sep=" ", timespec="milliseconds")
        with (self.field.folder / "events.log").open("a", encoding="utf-8") as file:
            file.write(f"{now} {line}\n")

    def _act(self, client: Client, event: Event) -> None:
        match event.kind:
            case Kind.START:
                self._start(client, event.step_s)
            case Kind.STOP:
                client.program.send(signal.SIGTERM)
                client.become(State.STOPPING, STOP_TIMEOUT_S)
            case Kind.KILL:
                self._end(client)
            case Kind.FREEZE:
                os.killpg(client.program.process.pid, signal.SIGSTOP)
                client.become(State.FROZEN, event.freeze_s)
            case Kind.KILL_CHILD:
                with suppress(psutil.NoSuchProcess):
                    for child in psutil.Process(client.program.process.pid).children()[:1]:
                        child.kill()
                client.become(State.UP, SETTLE_S)

    def _can_happen(self, kind: Kind, client: Client) -> bool:
        """Say whether an event can happen to a client: it leaves another that can be relied upon."""
        if kind is Kind.START:
            return client.state is State.OFF
        others = any(other.is_steady() for other in self._clients.values() if other is not client)
        return client.state is State.UP and others

    def _start(self, client: Client, step_s: float) -> None:
        client.program = self.field.client(
            self.broker, client.client_id, "--hostname", f"{client.client_id}@%h",
            CLIENT_PART=client.part, CLIENT_HEARTBEAT_S=str(self.heartbeat_s), STEP_S=str(step_s),
        )  # fmt: skip
        client.is_slow = step_s == SLOW_STEP_S
        client.become(State.STARTING, START_TIMEOUT_S)

    def _end(self, client: Client) -> None:
        client.program.end()
        client.become(State.OFF)

    def _thaw(self, client: Client) -> None:
        os.killpg(client.program.process.pid, signal.SIGCONT)
        self._write_down(f"thaw {client.client_id}")
        client.become(State.UP, SETTLE_S)

    def _look_after(self, client: Client) -> None:
        if client.state is State.OFF:
            return
        code = client.program.process.poll()
        if code is not None:
            if client.state is not State.STOPPING or code != 0:
                self._complain(client, f"ended with code {code} while it was {client.state.value}")
            self._end(client)
        elif client.state is State.STARTING and "joined, with" in client.program.output:
            client.become(State.UP, SETTLE_S)
        elif time.monotonic() <= client.until:
            return
        elif client.state is State.FROZEN:
            self._thaw(client)
        elif client.state in (State.STARTING, State.STOPPING):
            self._complain(client, f"hangs: it is {client.state.value} for too long")
            self._end(client)

    def _complain(self, client: Client, what: str) -> None:
        self.problems.append(f"{client.client_id} {what}: {client.program.log}")
