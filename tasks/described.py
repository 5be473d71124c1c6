"""What is told in one line: an exception of a user's code and where it was raised, how many, and a few of many."""

from __future__ import annotations

import linecache
import sysconfig
import traceback
from collections.abc import Collection
from itertools import islice
from pathlib import Path
from types import FrameType

from tasks.own_packages import OWN_PACKAGES

MAX_TEXT = 300
"""Characters of an exception's text that are told; all of it is in the log."""
MOST_NAMED = 3
"""Names that a message has of many."""
_STANDARD = sysconfig.get_path("stdlib")
_SITES = frozenset({"site-packages", "dist-packages"})
"""Folders that packages are installed in."""


def located(error: BaseException) -> str:
    """Return an exception's kind and where in the user's code it was raised, and nothing that it says."""
    return f"{type(error).__name__}{_where(_frame_of_user(error))}"


def described(error: BaseException) -> str:
    """Return an exception's kind, its text or the line that raised it, and where in the user's code that was."""
    frame = _frame_of_user(error)
    where = _where(frame)
    text = str(error).strip().partition("\n")[0]
    if not text and frame and frame.lineno:
        text = linecache.getline(frame.filename, frame.lineno).strip()
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]}…"
    return f"{type(error).__name__}: {text}{where}" if text else f"{type(error).__name__}{where}"


def _where(frame: traceback.FrameSummary | None) -> str:
    return f" ({Path(frame.filename).name}, line {frame.lineno}, in {frame.name})" if frame else ""


def counted(number: int, noun: str) -> str:
    """Return how many there are of something, like ``1 round`` or ``2 rounds``."""
    return f"{number} {noun}{'s' * (number != 1)}"


def first_of(names: Collection[str]) -> str:
    """Return ``a, b, c and 2 more``: three names at most."""
    more = len(names) - MOST_NAMED
    return ", ".join(islice(names, MOST_NAMED)) + (f" and {more} more" if more > 0 else "")


def _frame_of_user(error: BaseException) -> traceback.FrameSummary | None:
    """Return the innermost frame that is neither ours nor an installed package's.

    If there is none, it is the innermost of an installed package, or of our workloads; the rest of ours only calls. A
    syntax error's text says itself where it is.
    """
    if isinstance(error, SyntaxError):
        return None
    frames = [pair for pair in traceback.walk_tb(error.__traceback__) if not _is_caller(pair[0])]
    users = [pair for pair in frames if not _is_installed(pair[0])]
    summaries = traceback.StackSummary.extract((users or frames)[-1:])
    return summaries[0] if summaries else None


def _is_caller(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith("<") or (_package(frame) in OWN_PACKAGES and not _is_workload(frame))


def _is_installed(frame: FrameType) -> bool:
    path = Path(frame.f_code.co_filename)
    return _is_workload(frame) or path.is_relative_to(_STANDARD) or not _SITES.isdisjoint(path.parts)


def _is_workload(frame: FrameType) -> bool:
    return _module(frame).startswith("celeriac.workloads.")


def _package(frame: FrameType) -> str:
    return _module(frame).partition(".")[0]


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))
