"""Carry out ``docker-compose.yml`` for real, on whatever Docker engine is reachable, and say whether it keeps its word.

Builds the image and trains with four clients; then, in a longer run, kills a client and brings it back, cuts one off
the network and joins it again, has one try what isn't its own, lets one more in, starts Redis and the orchestrator
anew, takes everything down in the middle and brings it up again. All of it happens in a Compose project of its own,
which is removed in the end with its volumes and images; nothing else on the engine is touched.

Exit codes: 0 all is well, 1 something is wrong, 2 no engine is reachable.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from scripts.compose_page import check_page
from scripts.compose_project import (
    BUILD_LIMIT_S,
    COMMAND_LIMIT_S,
    NUM_CLIENTS,
    ROOT,
    CheckError,
    Project,
    Record,
    expect,
    say,
)
from scripts.compose_reach import check_nothing_denied, check_reach

SHORT_RUN = {"ROUNDS": "10", "EPOCHS": "5"}
LONG_RUN = {"ROUNDS": "24", "EPOCHS": "400"}
DOWN_LIMIT_S = 15.0
RUN_LIMIT_S = 600.0

_PRINT_SEATS = """
keys = sorted(key.decode() for key in redis.scan_iter(match="fl:part:*"))
print(json.dumps({redis.get(key).split()[0].decode(): key.removeprefix("fl:part:") for key in keys}))
"""
_PRINT_PARTS = f"""
import json
from tasks.workload import DataSource, Part, load_workload
workload = load_workload("digits")
sources = [DataSource(part=Part(index, {NUM_CLIENTS})) for index in range({NUM_CLIENTS})]
print(json.dumps([workload.client_data(source).num_train for source in sources]))
"""


def main() -> int:
    """Carry out the check and return the exit code."""
    project = _find_engine()
    if project is None:
        say("no Docker engine with Compose v2 is reachable: start one, or point DOCKER_HOST to it")
        return 2
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    say(f"Compose project {project.name}, removed in the end with its volumes and images")
    try:
        with _removed_in_the_end(project):
            figures = _check_short_run(project.with_settings(SHORT_RUN))
            figures += _check_long_run(project.with_settings(LONG_RUN))
    except CheckError as error:
        say(f"WRONG: {error}")
        return 1
    say(f"all is well: {', '.join(figures)}")
    return 0


def _find_engine() -> Project | None:
    """Return a project of a new name on the reachable engine, or None."""
    docker = shutil.which("docker")
    if docker is None:
        return None
    mentioned = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text(encoding="utf-8")))
    environment = {
        name: value for name, value in os.environ.items() if name not in mentioned and not name.startswith("COMPOSE_")
    }
    project = Project(docker, f"compose-check-{os.getpid()}", environment)
    try:
        project.call("version", limit_s=20)
        project.call("compose", "version", limit_s=20)
    except CheckError:
        return None
    return project


@contextmanager
def _removed_in_the_end(project: Project) -> Iterator[None]:
    """Remove all that the project made; tell the last lines of its logs first if the check failed."""
    try:
        yield
    except CheckError:
        with contextlib.suppress(CheckError):
            logs = project.compose("logs", "--no-color", "--tail", "5")
            say("the last lines of the logs:\n" + "\n".join(line[:200] for line in logs.splitlines()))
        raise
    finally:
        project.compose("down", "--volumes", "--remove-orphans", "--rmi", "local", "--timeout", "5")


def _check_short_run(project: Project) -> list[str]:
    """Build, train with four clients, and look at what is in the volume; return the figures."""
    say("building the image")
    build_s = _timed(lambda: project.compose("build", limit_s=BUILD_LIMIT_S))
    say(f"built in {build_s:.1f} s; training: {SHORT_RUN['ROUNDS']} rounds, {NUM_CLIENTS} clients")
    train_s = _timed(lambda: _train(project))
    folder, run = _only_run(project)
    _expect_completed(run, int(SHORT_RUN["ROUNDS"]))
    first = run["history"][0]
    expect(len(first["responses"]) == NUM_CLIENTS, f"round 1 has the clients {sorted(first['responses'])}")
    parts = json.loads(project.compose("run", "--rm", "--no-deps", "--no-TTY", "worker", "python", "-c", _PRINT_PARTS))
    counts = [response["num_examples"] for response in first["responses"].values()]
    expect(sorted(counts) == sorted(parts), f"clients trained on {counts} examples, the parts have {parts}")
    accuracy = run["summary"]["final"]["accuracy"]
    say(f"trained in {train_s:.1f} s: /runs/{folder} completed, accuracy {accuracy:.4f}")
    check_page(project, folder, "completed", int(SHORT_RUN["ROUNDS"]))
    say(f"round 1: {_shown_counts(first)}, together the whole training set of {sum(parts)}")
    workers = [project.container("worker", number + 1) for number in range(NUM_CLIENTS)]
    _wait_until("the clients have left", lambda: all(project.state(worker)[0] == "exited" for worker in workers))
    return [f"build {build_s:.1f} s", f"{SHORT_RUN['ROUNDS']} rounds {train_s:.1f} s", f"accuracy {accuracy:.4f}"]


def _train(project: Project) -> None:
    """Start whatever doesn't run, and wait until the orchestrator has ended, with exit code 0."""
    project.up()
    orchestrator = project.container("orchestrator")
    _wait_until("the orchestrator has ended", lambda: project.state(orchestrator)[0] == "exited", RUN_LIMIT_S)
    code = project.state(orchestrator)[1]
    expect(code == 0, f"the orchestrator ended with exit code {code}")


def _check_long_run(project: Project) -> list[str]:
    """Kill a client and cut one off, take all down and up again in the middle of a run; return the figures."""
    earlier = set(project.runs())
    say(f"a second up: a new run of {LONG_RUN['ROUNDS']} longer rounds")
    project.up()
    run_id = _wait_for_first_round(project, earlier)
    check_page(project, _only_run(project, earlier)[0], "running", 1)
    seats, back_s = _kill_and_bring_back(project)
    joined_s = _cut_off_and_join(project, seats, earlier)
    check_reach(project)
    _let_one_more_in(project)
    anew = [(service, _start_anew(project, service, seats, earlier)) for service in ("redis", "orchestrator")]
    say("taking everything down in the middle of the run")
    down_s = _timed_down(project)
    say(f"down in {down_s:.1f} s; bringing it up again: the run goes on")
    _train(project)
    folder, run = _only_run(project, earlier)
    _expect_completed(run, int(LONG_RUN["ROUNDS"]))
    expect(run["config"]["run_id"] == run_id, f"the run that completed is {run['config']['run_id']}, not {run_id}")
    last = run["history"][-1]
    expect(len(_trained(last)) == NUM_CLIENTS, f"in the last round {_shown_counts(last)}")
    expect(not _trained(last) & set(seats.values()), f"in the last round are clients that were removed: {seats}")
    expect(_trained(last) == set(_seats(project).values()), f"parts are {_seats(project)}")
    say(f"/runs/{folder} completed; last round: {_shown_counts(last)}, all of them new")
    check_nothing_denied(project)
    idle_s = _timed_down(project)
    say(f"down after the run in {idle_s:.1f} s")
    back = [f"{service} anew {anew_s:.1f} s" for service, anew_s in anew]
    back += [f"killed client back in {back_s:.1f} s", f"cut-off one trains {joined_s:.1f} s after it was joined"]
    return [*back, f"down {down_s:.1f} s amid a run and {idle_s:.1f} s after it"]


def _wait_for_first_round(project: Project, earlier: Collection[str]) -> str:
    """Wait until a run that is none of ``earlier`` has closed its first round; return its id."""

    def first_round() -> str | None:
        _expect_running(project)
        new = [run for name, run in project.runs().items() if name not in earlier]
        return new[0]["config"]["run_id"] if new and new[0]["history"] else None

    return str(_wait_until("round 1 is closed", first_round))


def _kill_and_bring_back(project: Project) -> tuple[dict[str, str], float]:
    """Kill one client; return who has which part of the data, and how long it took until it was back."""
    number, container = NUM_CLIENTS, project.container("worker", NUM_CLIENTS)
    seats = _seats(project)
    expect(
        len(set(seats.values())) == len(seats) == NUM_CLIENTS, f"the parts of the data are not one a client: {seats}"
    )
    before = project.joined(number)
    client_id = before[-1]
    say(f"each client has a part of its own; killing {client_id} (SIGKILL to {container})")
    project.call("kill", "--signal", "SIGKILL", container)
    _wait_until("the client is dead", lambda: project.state(container) == ("exited", 137))
    _expect_running(project)
    started = time.monotonic()
    project.up()
    after = _wait_until("the client is back", lambda: project.joined(number)[len(before) :])
    back_s = time.monotonic() - started
    _expect_running(project)
    expect(after[0] == client_id, f"the client that was {client_id} came back as {after[0]}")
    expect(_seats(project) == seats, f"parts were {seats}, are {_seats(project)}")
    say(f"{client_id} is back under its id and with its part after {back_s:.1f} s")
    return seats, back_s


def _cut_off_and_join(project: Project, seats: dict[str, str], earlier: Collection[str]) -> float:
    """Cut one client off the network and join it again; return how long it took until it had trained in a later round.

    The container's address may be another one then, so that nothing is ever heard on the connections that it had.
    """
    container, client_id = project.container("worker", 1), project.joined(1)[-1]
    lost = f"client {client_id} lost: the client vanished"
    num_opened = project.count_in_log(" opened: ")
    _wait_until("a round opens", lambda: project.count_in_log(" opened: ") > num_opened)
    say(f"cutting {client_id} off the network ({container})")
    project.call("network", "disconnect", f"{project.name}_default", container)
    _wait_until("the client is lost", lambda: project.count_in_log(lost))
    _wait_until("its round is closed", lambda: _last_answers(project, earlier)[client_id]["status"] == "lost")
    expect(project.state(container)[0] == "running", "the client that was cut off has ended")
    project.call("network", "connect", "--alias", "worker", f"{project.name}_default", container)
    started = time.monotonic()

    def trains_again() -> bool:
        _expect_running(project)
        response = _last_answers(project, earlier).get(client_id)
        return response is not None and response["status"] == "trained"

    _wait_until("the client trains again", trains_again)
    joined_s = time.monotonic() - started
    expect(_seats(project) == seats, f"parts were {seats}, are {_seats(project)}")
    say(f"{client_id} trained again under its id and with its part {joined_s:.1f} s after it was joined")
    return joined_s


def _last_answers(project: Project, earlier: Collection[str]) -> Record:
    """Return the answers, by client, of the last round that was closed."""
    responses: Record = _only_run(project, earlier)[1]["history"][-1]["responses"]
    return responses


def _seats(project: Project) -> dict[str, str]:
    """Return who has which part of the data."""
    seats: dict[str, str] = project.as_operator(_PRINT_SEATS)
    return seats


def _start_anew(project: Project, service: str, seats: dict[str, str], earlier: Collection[str]) -> float:
    """Start a service's container anew amid a run; return how long it took until all had trained in a later round."""
    say(f"starting {service} anew")
    before = len(_only_run(project, earlier)[1]["history"])
    started = time.monotonic()
    project.compose("restart", service)

    def goes_on() -> bool:
        _expect_running(project)
        history = _only_run(project, earlier)[1]["history"]
        return any(_trained(record) == set(seats.values()) for record in history[before + 1 :])

    _wait_until("the run goes on with all clients", goes_on)
    seconds = time.monotonic() - started
    expect(_seats(project) == seats, f"parts were {seats}, are {_seats(project)}")
    say(f"all clients trained in a later round {seconds:.1f} s after {service} was started anew")
    return seconds


def _let_one_more_in(project: Project) -> None:
    """Start one more client, which waits for a part of the data, and end it again."""
    more = str(NUM_CLIENTS + 1)
    project.compose("up", "--detach", "--no-recreate", "--scale", f"worker={more}", limit_s=BUILD_LIMIT_S)
    waits = "waits until one of the"
    log = ("logs", "--no-log-prefix", "--index", more, "worker")
    _wait_until("one more client is let in", lambda: waits in project.compose(*log))
    say("one more client was let in, and waits for a part of the data")
    project.compose("up", "--detach", "--no-recreate", "--scale", f"worker={NUM_CLIENTS}", limit_s=BUILD_LIMIT_S)


def _trained(record: Record) -> set[str]:
    return {name for name, response in record["responses"].items() if response["status"] == "trained"}


def _timed_down(project: Project) -> float:
    seconds = _timed(lambda: project.compose("down"))
    expect(seconds < DOWN_LIMIT_S, f"down took {seconds:.1f} s, {DOWN_LIMIT_S:g} s are allowed")
    return seconds


def _expect_running(project: Project) -> None:
    status, code = project.state(project.container("orchestrator"))
    expect(status == "running", f"the orchestrator is {status} (exit code {code}) in the middle of the run")


def _only_run(project: Project, earlier: Collection[str] = ()) -> tuple[str, Record]:
    """Return the one run that is none of ``earlier``, and its folder's name."""
    new = {name: run for name, run in project.runs().items() if name not in earlier}
    expect(len(new) == 1, f"there should be one new run in the volume, there are {sorted(new)}")
    return next(iter(new.items()))


def _expect_completed(run: Record, rounds: int) -> None:
    summary = run["summary"]
    expect(summary is not None and summary["status"] == "completed", f"the summary says {summary}")
    numbers = [record["round_number"] for record in run["history"]]
    expect(numbers == list(range(1, rounds + 1)), f"the history has the rounds {numbers}, not 1 to {rounds}")


def _shown_counts(record: Record) -> str:
    responses = sorted(record["responses"].items())
    return ", ".join(f"{name} {response['status']} on {response['num_examples']}" for name, response in responses)


def _wait_until(what: str, condition: Callable[[], Any], limit_s: float = COMMAND_LIMIT_S) -> Any:
    """Ask twice a second until the answer is true, and return it."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if response := condition():
            return response
        time.sleep(0.5)
    raise CheckError(f"waited {limit_s:g} s, and still not: {what}")


def _timed(act: Callable[[], object]) -> float:
    started = time.monotonic()
    act()
    return time.monotonic() - started


if __name__ == "__main__":
    sys.exit(main())
