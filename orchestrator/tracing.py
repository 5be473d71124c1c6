"""A span of each task of the orchestrator's own workers, in runs that ``--observe otel`` was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.store.run_folder import RunFolder
from tasks.plugins import split_spec
from tasks.tracing import RUN, TaskTracer, Traced, is_installed

OBSERVER = "otel"
"""The observer's name."""


def follow_jobs() -> None:
    """Have each task be a span, a child of its round's; one that takes updates in is linked to their orders'."""
    if is_installed():
        TaskTracer("celeriac-jobs", traced_job).follow()


def traced_job(task: str, _: Sequence[Any], kwargs: Mapping[str, Any]) -> Traced | None:
    """Return the span of a task; None if its run isn't traced."""
    if "run_dir" not in kwargs:
        return None  # the run's folder may be elsewhere, and with it what it is told
    run_id, endpoint = _told_of(kwargs["run_dir"])
    if endpoint is None:
        return None
    number = int(kwargs.get("round_number", 0))
    parent: tuple[str, ...] = (str(number),) if number else (RUN, "0")
    orders = tuple((str(number), str(each["client_id"])) for each in kwargs.get("responses", ()))
    attributes: dict[str, str | int] = {"celeriac.run_id": run_id, "celeriac.round_number": number}
    return Traced(run_id, parent, task.rpartition(".")[2], attributes, orders, endpoint)


@cache
def _told_of(run_dir: str) -> tuple[str, str | None]:
    """Return a run's id, and where its spans go; None: nowhere."""
    config = RunFolder(Path(run_dir)).config()
    specs = dict(split_spec(spec, (OBSERVER,)) for spec in config.observe)
    return config.run_id, specs.get(OBSERVER)
