"""The screens: what each shows, as sections that are rendered, sent and replaced one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.config import RunConfig
from orchestrator.page.curves import Chart, chart_of
from orchestrator.page.files import downloads_of, logs_of, tail_of
from orchestrator.page.follow import FollowedRun, status_of
from orchestrator.page.round_view import RoundView, Slot, SlotState
from orchestrator.page.scores import scales_of
from orchestrator.page.settings import differing, settings_of
from orchestrator.page.shelf import Shelf
from orchestrator.page.state import CLIENTS, HELD_OUT, TRAINING, ClientLine, RunState
from orchestrator.page.tables import MAX_ROWS, Key, Table, table_of
from orchestrator.page.timeline import time_line_of
from tasks.option import GROUPS

MAX_COMPARED = 8
"""Runs that are laid over each other: as many as there are styles of lines."""
_STYLES = {HELD_OUT: 1, CLIENTS: 2, TRAINING: 3}
_RECENT = 25
"""Closed rounds that a run's first screen lists."""
MAX_CELLS = 5000
"""Clients of a round that have a cell each; of more the counts tell."""
MAX_COHORT_ROWS = 100
"""Clients of a round in its table, those in trouble first: it changes all the time, and a browser has to keep up."""
_STATES = tuple(SlotState)
Query = Mapping[str, str]


class NotFoundError(Exception):
    """Raised when there is no such run, round or file."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a screen.

    Attributes:
        name: Its template, and its id in the document.
        values: What the template shows.
    """

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Screen:
    """What is shown.

    Attributes:
        title: The document's title.
        sections: Its sections, from top to bottom.
        run: The run's name, where it is of one; empty else.
        tab: Which of the run's screens it is.
        is_still: Whether it is a form, which nothing changes while it is filled in.
    """

    title: str
    sections: Sequence[Section]
    run: str = ""
    tab: str = ""
    is_still: bool = False


def runs(shelf: Shelf) -> Screen:
    """Return the list of runs."""
    return Screen("Runs", [Section("runs", {"runs": shelf.lines(), "now": time.time(), "most": MAX_COMPARED})])


def compare(shelf: Shelf, names: Sequence[str]) -> Screen:
    """Return several runs beside each other.

    Raises:
        NotFoundError: If there is no such run.
    """
    chosen = {name: _run(shelf, name) for name in dict.fromkeys(names[:MAX_COMPARED])}
    for run in chosen.values():
        run.refresh()
    styles = {name: number for number, name in enumerate(chosen, 1)}
    metrics = dict.fromkeys(metric for run in chosen.values() for metric in run.state.curves)
    charts = [
        chart_of(metric, {name: _best_points(run.state, metric) for name, run in chosen.items()}, styles)
        for metric in metrics
    ]
    configs = [run.folder.config() for run in chosen.values()]
    lines = [(name, styles[name], status_of(run.folder, run.state), run.state) for name, run in chosen.items()]
    values = {"lines": lines, "charts": charts, "differing": differing(configs), "metrics": list(metrics)}
    return Screen("Comparison", [Section("compare", values)])


def overview(shelf: Shelf, name: str, query: Query) -> Screen:
    """Return a run's first screen: how far it is, its curves, the open round, the last rounds."""
    run, config = _opened(shelf, name)
    state = run.state
    sections = [_head(run, config), Section("curves", {"charts": charts_of(state), "problem": state.problem})]
    if state.round is not None:
        sections.append(_cohort(name, state.round, query))
    recent = [state.rounds[number] for number in sorted(state.rounds)[-_RECENT:]]
    sections.append(Section("rounds", {"run": name, "rounds": recent[::-1], "num_closed": len(state.rounds)}))
    return Screen(name, sections, name, "overview")


def one_round(shelf: Shelf, name: str, number: int, query: Query) -> Screen:
    """Return a round: its time line, its scores, and what became of each client's order."""
    run, config = _opened(shelf, name)
    view = run.round(number)
    if view is None:
        raise NotFoundError(f"run {name} has no round {number}")
    is_on = view.closed is None and status_of(run.folder, run.state) == "running"
    now = time.time() if is_on else run.state.told_at
    if not is_on:
        view.part_with_all()
    sections = [
        _head(run, config),
        Section("round", {"view": view, "run": name, "last": max(run.state.offsets), "first": min(run.state.offsets)}),
        Section("timeline", {"line": time_line_of(view, now)}),
        Section("scores", {"scales": scales_of(view, config)}),
        _cohort(name, view, query),
    ]
    return Screen(f"Round {number} · {name}", sections, name, "rounds")


def clients(shelf: Shelf, name: str, query: Query) -> Screen:
    """Return a run's clients, filtered and sorted as asked for."""
    run, config = _opened(shelf, name)
    show, text = query.get("show", "all"), query.get("q", "")
    table = table_of(
        list(run.state.clients.values()),
        lambda line: text.casefold() in f"{line.client_id} {line.reason}".casefold() and _SHOWN.get(show, _all)(line),
        _CLIENT_KEYS,
        query.get("sort", ""),
    )
    has_labels = any(line.labels for line in run.state.clients.values())
    values = {"table": table, "columns": _CLIENT_COLUMNS, "query": query, "most": MAX_ROWS, "has_labels": has_labels}
    filters = Section("filter", {"query": query, "choices": list(_SHOWN), "keep": "sort", "label": "client or reason"})
    return Screen(f"Clients · {name}", [_head(run, config), filters, Section("clients", values)], name, "clients")


def logs(shelf: Shelf, name: str, query: Query) -> Screen:
    """Return the end of a log."""
    run, config = _opened(shelf, name)
    found = logs_of(run.folder)
    chosen = query.get("file", "")
    chosen = chosen if chosen in found else next(iter(found), "")
    lines = tail_of(found[chosen]) if chosen else []
    sections = [_head(run, config), Section("logs", {"names": list(found), "chosen": chosen, "lines": lines})]
    return Screen(f"Logs · {name}", sections, name, "logs")


def settings(shelf: Shelf, name: str) -> Screen:
    """Return a run's settings."""
    run, config = _opened(shelf, name)
    found = settings_of(config)
    grouped = {group: [each for each in found if each.group == group] for group in GROUPS}
    sections = [_head(run, config), Section("settings", {"settings": grouped})]
    return Screen(f"Settings · {name}", sections, name, "settings")


def files(shelf: Shelf, name: str) -> Screen:
    """Return what of a run can be taken along."""
    run, config = _opened(shelf, name)
    found = downloads_of(run.folder, run.state.num_closed, best_round_of(run.state))
    sections = [_head(run, config), Section("files", {"files": list(found.values()), "run": name})]
    return Screen(f"Files · {name}", sections, name, "files")


def charts_of(state: RunState) -> list[Chart]:
    """Return a run's charts, that of the loss first."""
    titles = sorted(state.curves, key=lambda title: title != "loss")
    return [chart_of(title, state.curves[title], _STYLES) for title in titles]


def best_round_of(state: RunState) -> int | None:
    """Return which round's model was the best, where the run has said so."""
    return state.summary.best_round if state.summary is not None else None


def _run(shelf: Shelf, name: str) -> FollowedRun:
    run = shelf.run(name)
    if run is None:
        raise NotFoundError(f"there is no run {name}")
    return run


def _opened(shelf: Shelf, name: str) -> tuple[FollowedRun, RunConfig]:
    run = _run(shelf, name)
    run.refresh()
    if status_of(run.folder, run.state) == "killed":  # nobody was left to say so
        run.state.part_with_all()
    return run, run.folder.config()


def _head(run: FollowedRun, config: RunConfig) -> Section:
    state, now = run.state, time.time()
    status = status_of(run.folder, state)
    is_on = status == "running"
    values = {
        "run": run.folder.path.resolve().name,
        "config": config,
        "status": status,
        "state": state,
        "time_left_s": state.time_left_s(now) if is_on else None,
        "took_s": (now if is_on else state.told_at) - state.started_at,
        "share_read": run.share_read,
        "num_connected": sum(line.connected_at is not None for line in state.clients.values()),
    }
    return Section("head", values)


def _cohort(name: str, view: RoundView, query: Query) -> Section:
    only = query.get("state", "")
    keys: Mapping[str, Key] = {"state": lambda item: (_STATES.index(item[1].state), item[0])}
    table: Table[tuple[str, Slot]] = table_of(
        list(view.slots.items()), lambda item: only in ("", item[1].state.value), keys, "state", MAX_COHORT_ROWS
    )
    values = {"view": view, "run": name, "counts": view.counts(), "table": table, "only": only, "most": MAX_COHORT_ROWS}
    values |= {"has_cells": 12 < len(view.slots) <= MAX_CELLS, "is_over": SlotState.UNANSWERED in view.counts()}
    return Section("cohort", values)


def _best_points(state: RunState, metric: str) -> list[tuple[int, float]]:
    """Return a metric's points on the first of the data that it was measured on."""
    curves = state.curves.get(metric, {})
    return next((curves[measured] for measured in _STYLES if measured in curves), [])


def _all(_line: ClientLine) -> bool:
    return True


_SHOWN: Mapping[str, Callable[[ClientLine], bool]] = {
    "all": _all,
    "connected": lambda line: line.connected_at is not None,
    "gone": lambda line: line.connected_at is None,
    "rejected": lambda line: line.num_rejected > 0,
    "late": lambda line: line.num_late > 0,
    "lost": lambda line: line.num_lost > 0,
    "failed": lambda line: line.num_failed > 0,
}
"""Which clients are shown, by what a reader chooses."""
_CLIENT_COLUMNS = {
    "client": "client",
    "since": "connected since",
    "examples": "examples",
    "asked": "asked",
    "accepted": "accepted",
    "rejected": "rejected",
    "failed": "failed",
    "lost": "lost",
    "late": "late",
    "seconds": "s/order",
    "bytes": "sent",
}
_CLIENT_KEYS: Mapping[str, Key] = {
    "client": lambda line: line.client_id,
    "since": lambda line: line.connected_at or 0.0,
    "examples": lambda line: line.num_examples,
    "asked": lambda line: line.num_asked,
    "accepted": lambda line: line.num_accepted,
    "rejected": lambda line: line.num_rejected,
    "failed": lambda line: line.num_failed,
    "lost": lambda line: line.num_lost,
    "late": lambda line: line.num_late,
    "seconds": lambda line: line.mean_s,
    "bytes": lambda line: line.size_bytes,
}
