from __future__ import annotations

import errno
import os

import pytest
from celery.concurrency import prefork

from tasks.errors import ConfigurationError
from tasks.pool import TaskPool


def test_processes_that_cant_be_made_are_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a system whose folder for semaphores is read-only
    def refuse(_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(prefork.TaskPool, "on_start", refuse)
    # When a pool is started, then the line says what was refused, and what is needed
    expected = (
        r"processes can't be made: \[Errno 30\] Read-only file system: they need a writable /dev/shm, and open files"
    )
    with pytest.raises(ConfigurationError, match=expected):
        TaskPool(1).on_start()
