"""Showing a run in the program that has begun it: live on a terminal, elsewhere a line a round."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console

from orchestrator.observers import ObserverContext
from orchestrator.observers.events_file import new_events
from orchestrator.store.records import RoundRecord
from orchestrator.store.run_folder import RunFolder
from tasks.metrics import in_words


def is_watched() -> bool:
    """Say whether somebody sees what is shown: on a terminal, or in a notebook."""
    return is_terminal() or Console(stderr=True).is_jupyter


def is_terminal() -> bool:
    """Say whether standard error is a terminal."""
    return Console(stderr=True).is_terminal


def say(record: RoundRecord) -> None:
    """Say in a line what became of a round."""
    told = in_words(record.metrics or record.client_metrics or record.train_metrics)
    click.echo(f"round {record.round_number}: {record.reason or told or record.status}")


@contextmanager
def shown(folder: RunFolder, *, is_live: bool) -> Iterator[Callable[[], None]]:
    """Show a run's events from now on, for as long as the block lasts; what this gives shows those that are new.

    Args:
        folder: The run's folder.
        is_live: Whether to show them at all.
    """
    if not is_live:
        yield lambda: None
        return
    from orchestrator.observers.console import ConsoleDisplay  # noqa: PLC0415  # tests of a workload don't wait for it

    folder.events.touch()
    with folder.events.open("rb") as events:
        events.seek(0, os.SEEK_END)
        display = ConsoleDisplay(ObserverContext(folder.path, folder.config(), "", Console(stderr=True)))

        def look() -> None:
            for event in new_events(events):
                display.observe(event)

        try:
            yield look
        finally:
            look()
            display.close()
