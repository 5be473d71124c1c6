"""The floor of latency: a Celery chord of a chain ``train | ingest`` a client, whose tasks do nothing.

It has no bytes to move, so it is the same for every size of model. A round is from sending the chord until the result
of its body is there.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.contender import Case, DidNotCompleteError, Limit, Outcome
from benchmarks.contenders.programs import Programs, rounds_with_server
from tasks.scope import client_queue

ROLES = (
    ("valkey-server", "broker"),
    ("--queues server", "worker"),
    ("--queues client.", "clients"),
    ("chord_program", "orchestrator"),
)


class BareChord:
    """A worker with one process for each client, one for the server, and a program that sends chords."""

    def run(self, case: Case, num_rounds: int, folder: Path, limit: Limit) -> Outcome:
        """Carry out the rounds."""

        def start(started: Programs, url: str, result: Path) -> None:
            for queue in ("server", *(client_queue(str(index)) for index in range(case.num_clients))):
                started.python(
                    queue, "celery", "--app", "benchmarks.contenders.chord_program", "worker", "--queues", queue,
                    "--hostname", f"{queue}@%h", "--concurrency", "1", CELERY_BROKER_URL=url,
                )  # fmt: skip
            arguments = (str(case.num_clients), str(num_rounds), str(result))
            started.python("orchestrator", "benchmarks.contenders.chord_program", *arguments, CELERY_BROKER_URL=url)

        found, outcome = rounds_with_server(folder, ROLES, limit, num_rounds, start, tcp=False)
        if found["counted"] != [case.num_clients] * num_rounds:
            raise DidNotCompleteError(f"the chords had {found['counted']} parts")
        return outcome
