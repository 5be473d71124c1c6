"""The form of log lines: text, or JSON with the run, the round and the client in each line that has them.

Nothing that a stranger wrote comes into a log as it is. Celery logs ids and names of tasks out of messages, and errors
have in their texts what they are about; so lines are made readable where they are written.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from typing import Any

from celery import current_task

from tasks.files import private
from tasks.own_packages import OWN_PACKAGES
from tasks.readable import readable, readable_lines
from tasks.scope import run_of_task

FORMAT_VARIABLE = "FEDERATION_LOG_FORMAT"
"""Environment variable by which a worker's log is ``json`` in place of Celery's text."""
FIELDS = ("run_id", "round_number", "client_id")
"""What a line of JSON has beside time, level, logger and message, where it is known."""


def json_formatter() -> logging.Formatter:
    """Return what makes a record a JSON object in a line, with all that its ``extra`` holds, and its time in UTC."""
    from pythonjsonlogger.json import JsonFormatter  # noqa: PLC0415  # only where JSON is asked for

    names = {"levelname": "level", "name": "logger"}
    return JsonFormatter("%(levelname)s %(name)s %(message)s", rename_fields=names, timestamp="time")


class PrivateLog(RotatingFileHandler):
    """A log file that its owner alone may read; without a length it is never begun anew."""

    def _open(self) -> TextIOWrapper:
        return TextIOWrapper(open(self.baseFilename, f"{self.mode}b", opener=private), self.encoding, self.errors)


_LOG_STRANGERS = OWN_PACKAGES | {"celery", "kombu", "redis", "billiard"}
"""Packages whose lines may hold what others wrote; those of a user's own code are the user's."""
_PRINTED = "celery.redirected"
"""Logger of what a user's code prints."""


def make_readable(record: logging.LogRecord) -> bool:
    """Make a record one readable line, with its traceback indented below; a filter that lets everything pass."""
    if record.name.partition(".")[0] in _LOG_STRANGERS and record.name != _PRINTED:
        record.msg, record.args = readable(record.getMessage()), None
    if record.exc_info and not record.exc_text:
        record.exc_text = readable_lines(_PLAIN.formatException(record.exc_info))
    return True


_PLAIN = logging.Formatter()


def set_up_worker(logger: logging.Logger, **_: object) -> None:
    """Have a Celery worker log as the environment says; for the signal ``after_setup_logger``."""
    for handler in logger.handlers:
        handler.addFilter(make_readable)
    if os.environ.get(FORMAT_VARIABLE) != "json":
        return
    for handler in logger.handlers:
        handler.setFormatter(json_formatter())
        handler.addFilter(add_fields_of_task)


def add_fields_of_task(record: logging.LogRecord) -> bool:
    """Add what the message of the task says that this process carries out; a filter that lets everything pass."""
    request = current_task.request if current_task else None
    for message in _messages(request) if request else ():
        for name in FIELDS:
            if name in message and not hasattr(record, name):
                setattr(record, name, readable(message[name]))
    return True


def _messages(request: Any) -> Iterator[Mapping[str, object]]:
    """Yield an order, what a task of the orchestrator's own is called with, and the response in that."""
    kwargs = request.kwargs or {}
    for message in (*(request.args or ()), kwargs, kwargs.get("response")):
        if isinstance(message, Mapping):
            yield message
    yield {"run_id": run_of_task(str(request.id))}  # a task of the orchestrator's own; an order says it itself
