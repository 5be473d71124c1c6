"""Round 1 of a run whose model is one point: its folder, slots whose updates were taken in, and closing it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3

from orchestrator.jobs.initialise import make_model
from orchestrator.store.records import ClosedRound, Evaluated, OpenRound, SlotRecord
from orchestrator.store.run_folder import RunFolder
from tasks import arrays
from tasks.arrays import Array, Arrays
from tasks.blobs.chunks import MemoryChunks
from tasks.context import Context
from tasks.messages import Status
from tests.support import Pull, blob_ref, close_job, job_of, publish_update, run_config, take_in, train_order, trained

MODEL = {"point": np.zeros(3, np.float32), "steps": np.array(0)}
WITH_BUFFERS = f"{__name__}:WithBuffers"
Part = tuple[str, SlotRecord]


class WithBuffers(Pull):
    """Has running statistics beside what it trains."""

    def buffer_names(self, context: Context) -> frozenset[str]:
        return frozenset({"steps"})


def folder_in(path: Path, **changes: Any) -> RunFolder:
    """The folder of a run that has its initial model."""
    folder = RunFolder.create(path / "run", run_config(**changes))
    arrays.write_file(folder.checkpoint(0), MODEL)
    return folder


def taken_in(folder: RunFolder, client_id: str, update: Arrays, round_number: int = 1, **answer: Any) -> Part:
    """The slot of a client whose update was taken in; ``answer`` is what it says beside that."""
    chunks, order = MemoryChunks(), train_order(client_id, round_number)
    response = trained(order, publish_update(chunks, order, update), **answer)
    return client_id, take_in(job_of(folder, chunks, round_number), response)


def part(folder: RunFolder, client_id: str, point: Sequence[float] | Array, num_examples: int = 5, **said: Any) -> Part:
    """The slot of a client whose point was taken in for round 1; it counts as many steps as it has examples."""
    update = {"point": np.array(point, np.float32), "steps": np.array(num_examples)}
    return taken_in(folder, client_id, update, num_examples=num_examples, **said)


def parts_of(folder: RunFolder, points: Mapping[str, Sequence[float] | Array]) -> list[Part]:
    """The slots of clients with five examples each."""
    return [part(folder, client_id, point) for client_id, point in points.items()]


def close_round(folder: RunFolder, parts: Iterable[Part]) -> ClosedRound:
    """Close round 1 with these slots, in any order."""
    return close_job(job_of(folder), dict(sorted(parts)))


def initialise(folder: RunFolder) -> Evaluated:
    """Make the run's initial model, or refuse what can't be trained here."""
    return make_model(job_of(folder, round_number=0))


def close_open_round(folder: RunFolder, cohort: list[str]) -> ClosedRound:
    """Close round 1, whose slots are those of this cohort, with what was taken in."""
    opened = OpenRound(round_number=1, cohort=dict.fromkeys(cohort, ""), parameters=blob_ref(), started_at="")
    folder.save_open_round(opened)
    job = job_of(folder)
    return close_job(job, job.records())


def failed(client_id: str, status: Status = Status.FAILED) -> Part:
    return client_id, SlotRecord(status=status, reason="no luck")


def digest_of(path: Path) -> str:
    return blake3(path.read_bytes()).hexdigest()
