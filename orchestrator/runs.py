"""The command ``python -m orchestrator.runs``: lists runs, shows what came of one, ends one, and compares several.

It reads what is in their folders, so that it knows a run that is on, that has ended and that was killed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import click

from orchestrator.config import RunConfig
from orchestrator.opening import RUNS, shown_path
from orchestrator.store.records import RoundRecord
from orchestrator.store.run_folder import RunFolder
from orchestrator.store.run_process import interrupt
from tasks.command import telling_errors
from tasks.errors import FederationError, RunFolderError
from tasks.messages import Status
from tasks.metrics import Metrics, in_words
from tasks.readable import readable

STOP_TIMEOUT_S = 60.0
"""Seconds in which a run ends that is told to."""
_LOOK_S = 0.1
_NOTHING = "-"
_OF_ONE_RUN = ("run_id", "local")
"""Fields of a config that no two runs have in common."""


@click.group()
def main() -> None:
    """List runs, show what came of one, end one, or compare several."""


@main.command("list")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False), default=RUNS)
@telling_errors
def list_runs(folder: Path) -> None:
    """List the runs in FOLDER, runs/ if none is named: the newest comes last."""
    rows: list[tuple[str, ...]] = [("run", "status", "rounds", "algorithm", "workload", "model")]
    for path in sorted(each.parent for each in folder.glob("*/config.json")):
        try:
            rows.append(_row(RunFolder(path)))
        except FederationError as error:
            rows.append((path.name, f"damaged: {readable(str(error))}", *[_NOTHING] * 4))
    for line in _aligned(rows):
        click.echo(line)


def _row(folder: RunFolder) -> tuple[str, ...]:
    config, history = folder.config(), folder.history()
    rounds = f"{len(history)}/{config.rounds}"
    return (
        folder.path.name, _status(folder), rounds, config.algorithm, config.workload, _model(folder, history)
    )  # fmt: skip


def _status(folder: RunFolder) -> str:
    """Return how a run is: on, or how it ended."""
    if folder.is_at_work():
        return "running"
    summary = folder.summary()
    return summary.status if summary is not None else "killed"


def _model(folder: RunFolder, history: Sequence[RoundRecord]) -> str:
    """Return how good the last model is that was evaluated; before the first round that is the initial one."""
    if metrics := _last_metrics(history):
        return in_words(metrics)
    with suppress(RunFolderError):
        return in_words(folder.initial().metrics) or _NOTHING
    return _NOTHING


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@telling_errors
def show(run: Path) -> None:
    """Show what came of the run in folder RUN, and of each of its clients."""
    folder = RunFolder.open(run)
    config, history, summary = folder.config(), folder.history(), folder.summary()
    why = f": {summary.reason}" if summary is not None and summary.reason else ""
    click.echo(readable(f"{folder.path.name}: {_status(folder)}{why}"))
    click.echo(readable(f"{config.algorithm} on {config.workload}, {len(history)} of {config.rounds} rounds"))
    click.echo(f"the last model: {_model(folder, history)}")
    for record in history:
        if record.status == "failed":
            click.echo(f"round {record.round_number} failed: {record.reason}")
    click.echo()
    for line in _aligned(_clients(history)):
        click.echo(line)
    click.echo(f"\nthe run's folder: {shown_path(folder.path)}")


def _clients(history: Iterable[RoundRecord]) -> Iterator[tuple[str, ...]]:
    """Yield a row a client: how often it was asked, what came of that, what it took, and the last reason."""
    slots: dict[str, list[Any]] = {}
    late = Counter(each.client_id for record in history for each in record.late)
    for record in history:
        for client_id, slot in record.responses.items():
            slots.setdefault(client_id, []).append(slot)
    yield ("client", "asked", "accepted", "rejected", "failed", "lost", "late", "seconds", "last reason")
    for client_id, own in sorted(slots.items()):
        counts = Counter(slot.status for slot in own)
        seconds = [slot.duration_s for slot in own if slot.duration_s]
        reasons = [slot.reason for slot in own if slot.reason]
        yield (
            client_id,
            str(len(own)),
            str(sum(slot.is_accepted for slot in own)),
            *(str(counts[status]) for status in (Status.REJECTED, Status.FAILED, Status.LOST)),
            str(late[client_id]),
            f"{median(seconds):.2f}" if seconds else _NOTHING,
            reasons[-1] if reasons else "",
        )


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@telling_errors
def stop(run: Path) -> None:
    """End the run in folder RUN, which is on, as Ctrl-C does where it was started; --resume goes on with it."""
    folder = RunFolder.open(run)
    if not folder.is_at_work():
        raise RunFolderError(f"the run in {shown_path(folder.path)} is not on: {_status(folder)}")
    pid, deadline = interrupt(folder.process), time.monotonic() + STOP_TIMEOUT_S
    while folder.is_at_work():
        if time.monotonic() > deadline:
            raise RunFolderError(f"process {pid} was told to end, and hasn't within {STOP_TIMEOUT_S:g} s")
        time.sleep(_LOOK_S)
    click.echo(readable(f"{folder.path.name}: {_status(folder)}, {len(folder.history())} rounds"))


@main.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@telling_errors
def compare(runs: Sequence[Path]) -> None:
    """Compare the runs in folders RUNS: the settings in which they differ, and what came of them."""
    folders = [RunFolder.open(path) for path in runs]
    rows = [("", *(folder.path.name for folder in folders))]
    rows += _differing([folder.config() for folder in folders])
    rows += _outcomes(folders)
    for line in _aligned(rows):
        click.echo(line)


def _differing(configs: Sequence[RunConfig]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each setting in which configs differ."""
    dumped = [config.model_dump(mode="json") for config in configs]
    for name in RunConfig.model_fields:
        values = [str(each[name]) for each in dumped]
        if name not in _OF_ONE_RUN and len(set(values)) > 1:
            yield (name, *values)


def _outcomes(folders: Sequence[RunFolder]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each thing that came of runs."""
    histories = [folder.history() for folder in folders]
    metrics = [_last_metrics(history) for history in histories]
    yield ("status", *map(_status, folders))
    yield ("rounds closed", *(str(len(history)) for history in histories))
    yield ("rounds failed", *(str(sum(each.status == "failed" for each in history)) for history in histories))
    for name in dict.fromkeys(name for each in metrics for name in each):
        yield (name, *(in_words({name: each[name]}).split()[-1] if name in each else _NOTHING for each in metrics))
    for title, of in (("seconds a round", "duration_s"), ("MB down", "bytes_down"), ("MB up", "bytes_up")):
        unit = 1 if of == "duration_s" else 1e6
        means = [[getattr(each, of) / unit for each in history] for history in histories]
        yield (title, *(f"{median(values):.3g}" if values else _NOTHING for values in means))


def _last_metrics(history: Sequence[RoundRecord]) -> Metrics:
    """Return the metrics of the last model that was evaluated, on held-out data or else on that of clients."""
    found = (record.metrics or record.client_metrics for record in reversed(history))
    return next(filter(None, found), {})


def _aligned(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield rows of cells as lines, cells of a column under each other; the last column as long as it is.

    A folder may be another's: what it holds is one line, with escapes shown.
    """
    table = [[str(readable(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


if __name__ == "__main__":
    main()
