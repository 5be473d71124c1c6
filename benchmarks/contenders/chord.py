"""The floor of latency: a Celery chord of a chain ``train | ingest`` a client, whose tasks do nothing.

It has no bytes to move, so it is the same for every size of model. A round is from sending the chord until the result
of its body is there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.contender import Case, DidNotCompleteError, Limit, Outcome
from benchmarks.contenders.programs import IDLE_S, programs
from benchmarks.sampling import Sampler, Traffic, summarise
from tasks.names import client_queue


@dataclass(frozen=True, slots=True)
class BareChord:
    """A worker with one process for each client, one for the server, and a program that sends chords."""

    tcp: bool = False

    def run(self, case: Case, num_rounds: int, folder: Path, limit: Limit) -> Outcome:
        """Carry out the rounds."""
        result = folder / "result.json"
        with programs(folder) as started:
            url = started.server(tcp=self.tcp)
            with Sampler(_role_of, Traffic(lambda: url)) as sampler:
                for queue in ("server", *(client_queue(str(index)) for index in range(case.num_clients))):
                    started.python(
                        queue, "celery", "--app", "benchmarks.contenders.chord_program", "worker", "--queues", queue,
                        "--hostname", f"{queue}@%h", "--concurrency", "1", CELERY_BROKER_URL=url,
                    )  # fmt: skip
                arguments = (str(case.num_clients), str(num_rounds), str(result))
                started.python("orchestrator", "benchmarks.contenders.chord_program", *arguments, CELERY_BROKER_URL=url)
                found = started.wait_for_json(result, limit)
                started.wait_until(lambda: sampler.has_sampled_since(found["marks"][-1]), limit)
        if found["counted"] != [case.num_clients] * num_rounds:
            raise DidNotCompleteError(f"the chords had {found['counted']} parts")
        marks = found["marks"]
        outcome = summarise(sampler.samples, marks, marks[-1], num_rounds, ready=marks[0] - IDLE_S)
        return replace(outcome, resident_mb=sampler.resident_mb())


def _role_of(command: str) -> str:
    parts = {
        "valkey-server": "broker",
        "--queues server": "worker",
        "--queues client.": "clients",
        "chord_program": "orchestrator",
    }
    return next((role for part, role in parts.items() if part in command), "other")


def _queue(index: int) -> str:
    return f"client.{index}"
