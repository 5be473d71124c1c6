"""Which process is at work on a run: noted in the run's folder, so that another of this machine may end it.

A number of a process may be another's by then. So the moment at which the process began is noted with it, and looked up
again before anything is sent.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.errors import RunFolderError
from tasks.files import replace_text

_STARTED = 19
"""Which field of ``/proc/PID/stat`` behind the program's name is the tick at which the process began, from 0."""


class RunProcess(BaseModel):
    """A process: its number, and the system's clock tick at which it began."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: Annotated[int, Field(ge=1)]
    started: Annotated[int, Field(ge=0)]


@contextmanager
def noted(file: Path) -> Iterator[None]:
    """Note that this process is at work, as long as the block runs; where the system doesn't tell, nothing is noted."""
    started = _started(os.getpid())
    if started is not None:
        replace_text(file, RunProcess(pid=os.getpid(), started=started).model_dump_json() + "\n")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def interrupt(file: Path) -> int:
    """Send SIGINT to the process that is noted, and return its number.

    Raises:
        RunFolderError: If none is, it isn't there any more, or this user may not end it.
    """
    try:
        process = RunProcess.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        raise RunFolderError(f"{file} isn't there: the run can be ended where it was started, by Ctrl-C") from None
    except (OSError, ValidationError) as error:
        raise RunFolderError(f"{file} is damaged: {error}") from None
    try:
        handle = os.pidfd_open(process.pid)  # another process of this number, should there soon be one, is not meant
        try:
            if _started(process.pid) != process.started:
                raise ProcessLookupError
            signal.pidfd_send_signal(handle, signal.SIGINT)
        finally:
            os.close(handle)
    except ProcessLookupError:
        raise RunFolderError(
            f"process {process.pid} isn't the run's: it has ended, or runs on another machine or in a container"
        ) from None
    except OSError as error:
        raise RunFolderError(f"process {process.pid} can't be told to end: {error}") from None
    return process.pid


def _started(pid: int) -> int | None:
    """Return the tick at which a process began; None if there is none, or the system (it isn't Linux) doesn't tell."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[_STARTED])
