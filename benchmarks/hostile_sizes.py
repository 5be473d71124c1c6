"""Peak memory of what reads a hostile client's bytes, at the worst that is accepted, for a small and a large model.

``python -m benchmarks.hostile_sizes`` prints a table: by how much the memory of a process grows, without the pages of
files that are mapped, which the system takes back when it needs them, and with them.
"""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np

from orchestrator.config import RunConfig
from orchestrator.jobs.ingest import ingest_responses
from orchestrator.jobs.job import Job, Loaded
from orchestrator.store.run_folder import RunFolder
from orchestrator.store.updates import HEADER_SLACK_BYTES
from orchestrator.transport.responses import read_response
from tasks import arrays
from tasks.announcement import MAX_ANNOUNCEMENT_BYTES, Announcement, Hardware
from tasks.arrays import Array
from tasks.blobs.blob import BlobStore, describe, publish
from tasks.blobs.in_files import FileBlobs
from tasks.messages import Response, Status, Study, encode
from tasks.orders.train import TrainOrder
from tasks.protocol import PROTOCOL

SIZES_MB = (0.4, 400.0)
ALLOWED_MB = 10.0
"""Anonymous memory beyond one model."""
_SAMPLE_S = 0.0005


def _kilobytes(field: str) -> int:
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(f"{field}:"))


@contextmanager
def _peaks() -> Iterator[dict[str, float]]:
    """Measure, in MB, by how much memory grows while the block runs: sampled without mapped files, told with them."""
    found: dict[str, float] = {}
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before, resident, most, over = _kilobytes("RssAnon"), _kilobytes("VmRSS"), [0], threading.Event()

    def sample() -> None:
        while not over.is_set():
            most[0] = max(most[0], _kilobytes("RssAnon"))
            time.sleep(_SAMPLE_S)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()
        found |= {"anonymous": (most[0] - before) / 1000, "resident": (_kilobytes("VmHWM") - resident) / 1000}


def _filled(beginning: str, end: str, length: int) -> str:
    """Return JSON of this length with as many short lists between ``beginning`` and ``end`` as there is room for."""
    room = length - len(beginning) - len(end) - 4
    return (beginning + "[1]," * (room // 4) + "[1]" + end).ljust(length)


def _order(ref_bytes: int) -> TrainOrder:
    return TrainOrder(
        order_id="anna/run/1/train",
        run_id="run",
        client_id="anna",
        round_number=1,
        workload="digits",
        timeout_s=60,
        deadline=1e12,
        parameters=describe("fl:blob:run/0", [memoryview(b"x")]).model_copy(update={"size_bytes": ref_bytes}),
        study=Study(),
        seed=1,
    )


def _ingest(folder: Path, size_mb: float, *, worst_header: bool) -> dict[str, float]:
    """Take an update in whose header is an honest one, or the longest and most expensive that is accepted."""
    model: dict[str, Array] = {"weights": np.zeros(int(size_mb * 1e6 / 4), np.float32)}
    run = RunFolder.create(folder / "run", RunConfig(run_id="run", workload="digits"))
    arrays.write_file(run.checkpoint(0), model)
    header = arrays.encode_header(arrays.spec_of(model))[8:].decode()
    if worst_header:
        start = header.rstrip()[:-1] + ',"__metadata__":['
        header = _filled(start, "]}", len(header) + HEADER_SLACK_BYTES)
    (folder / "blobs").mkdir()
    store: BlobStore = FileBlobs(folder / "blobs")
    order = _order(int(size_mb * 1e6))
    beginning = len(header).to_bytes(8, "little") + header.encode()
    ref = publish(store, order.update_blob, [memoryview(beginning), model["weights"].view(np.uint8).data])
    response = order.respond(Status.TRAINED, num_examples=1, num_steps=1, update=encode(ref))
    del model
    job = Job(run, 1, Loaded(lambda _: store))
    assert job.config.run_id == "run"
    with _peaks() as found:
        record = ingest_responses(job, [response])[response.client_id]
    assert record.status is Status.TRAINED, record.reason
    return found


def _answer(_: Path, size_mb: float) -> dict[str, float]:
    """Read the longest and most expensive answer that is read at all."""
    order = _order(int(size_mb * 1e6))
    good = Response(order_id=order.order_id, client_id="anna", status=Status.FAILED)
    start = json.dumps({"status": "SUCCESS", "result": encode(good)})[:-1] + ',"more":['
    raw = _filled(start, "]}", order.max_response_bytes).encode()
    with _peaks() as found:
        assert read_response(raw, order).status is Status.FAILED
    return found


def _announcement(_: Path, __: float) -> dict[str, float]:
    """Read the longest and most expensive announcement that is fetched at all."""
    said = Announcement(
        protocol=PROTOCOL,
        client_id="anna",
        incarnation="first",
        workload="digits",
        num_examples=1,
        hardware=Hardware(num_cpus=1, memory_bytes=1),
    )
    raw = _filled(said.model_dump_json()[:-1] + ',"more":[', "]}", MAX_ANNOUNCEMENT_BYTES).encode()
    with _peaks() as found:
        assert Announcement.model_validate_json(raw, extra="ignore").client_id == "anna"
    return found


def _honest(folder: Path, size_mb: float) -> dict[str, float]:
    return _ingest(folder, size_mb, worst_header=False)


def _header(folder: Path, size_mb: float) -> dict[str, float]:
    return _ingest(folder, size_mb, worst_header=True)


CASES: Mapping[str, Callable[[Path, float], dict[str, float]]] = {
    "an honest update": _honest,
    "the worst header": _header,
    "the worst answer": _answer,
    "the worst announcement": _announcement,
}


def measured(case: str, size_mb: float) -> dict[str, float]:
    """Return by how many MB a case makes a process of its own grow."""
    with tempfile.TemporaryDirectory() as folder, multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(CASES[case], (Path(folder), size_mb))


@click.command()
def main() -> None:
    """Print the table; exit code 1 if a case takes more than a model and ``ALLOWED_MB``."""
    click.echo("| model, MB | what is read | anonymous, MB | with mapped files, MB |\n|---|---|---|---|")
    is_over = False
    for size_mb in SIZES_MB:
        for case in CASES:
            found = measured(case, size_mb)
            is_over |= found["anonymous"] > size_mb + ALLOWED_MB
            click.echo(f"| {size_mb:g} | {case} | {found['anonymous']:.1f} | {found['resident']:.1f} |")
    raise SystemExit(1 if is_over else 0)


if __name__ == "__main__":
    main()
