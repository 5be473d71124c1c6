from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator, Mapping

import pytest
from celery import Celery

from tasks.logs import FORMAT_VARIABLE, set_up_worker
from tests.support import train_order

ORDER = train_order("anna", 3).model_dump(mode="json")


@pytest.fixture
def logger(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """A logger as Celery sets it up, where the environment asks for JSON."""
    monkeypatch.setenv(FORMAT_VARIABLE, "json")
    logger = logging.getLogger("worker.test_logs")
    handler = logging.StreamHandler(io.StringIO())
    logger.addHandler(handler)
    set_up_worker(logger)
    yield logger
    logger.removeHandler(handler)


def line(logger: logging.Logger) -> dict[str, object]:
    """The one line that was logged."""
    [handler] = logger.handlers
    assert isinstance(handler, logging.StreamHandler)
    found: dict[str, object] = json.loads(handler.stream.getvalue())
    return found


def logged_in_a_task(logger: logging.Logger, task_id: str, *args: object, **kwargs: object) -> dict[str, object]:
    """What a line holds that a task logs, which is called with these."""
    app = Celery(set_as_current=False)

    @app.task(shared=False)
    def work(*_: object, **__: object) -> None:
        logger.warning("the disk is %s", "full")

    work.apply(args, kwargs, task_id=task_id)
    return line(logger)


def has(found: Mapping[str, object], **fields: object) -> bool:
    """Whether these are the fields beside those that every line has."""
    own = {name: value for name, value in found.items() if name not in ("time", "level", "logger", "message")}
    return own == fields


def test_a_line_is_an_object_with_time_level_logger_and_message(logger: logging.Logger) -> None:
    # Given a line outside any task, when it is logged, then it is JSON
    logger.warning("the disk is %s", "full")
    found = line(logger)
    assert (found["level"], found["logger"], found["message"]) == ("WARNING", logger.name, "the disk is full")
    assert str(found["time"]).endswith("+00:00")
    assert has(found)


def test_what_a_client_logs_while_it_carries_out_an_order_names_client_run_and_round(logger: logging.Logger) -> None:
    # Given an order, when its task logs, then the line says whose it is
    found = logged_in_a_task(logger, "anna/run/3/train", ORDER)
    assert has(found, client_id="anna", run_id="run", round_number=3)


def test_what_an_own_worker_logs_names_run_and_round_and_whose_response_it_is(logger: logging.Logger) -> None:
    # Given a task of the orchestrator's own, when it logs, then the line says what of
    response = {"client_id": "anna"}
    found = logged_in_a_task(logger, "run/run/3/ab12/0", run_dir="/runs/run", round_number=3, response=response)
    assert has(found, client_id="anna", run_id="run", round_number=3)


def test_without_the_variable_a_worker_s_log_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a handler, when nobody asks for JSON, then it has the formatter that it had
    monkeypatch.delenv(FORMAT_VARIABLE, raising=False)
    logger, handler = logging.Logger("worker"), logging.StreamHandler(io.StringIO())
    logger.addHandler(handler)
    set_up_worker(logger)
    assert handler.formatter is None


@pytest.mark.parametrize("name", ["celery.worker.strategy", "worker.serving"])
def test_what_a_stranger_wrote_is_a_line_of_a_worker_s_log_and_no_more(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # Given a worker's log
    monkeypatch.delenv(FORMAT_VARIABLE, raising=False)
    logger, handler = logging.Logger(name), logging.StreamHandler(io.StringIO())
    logger.addHandler(handler)
    set_up_worker(logger)
    # When it logs the id that a task came with, and an error that has a text of the same kind
    stranger = "\x1b[1A\nINFO all is well"
    logger.info("Task worker.train[%s] received", stranger + "x" * 10_000)
    try:
        raise ValueError(stranger)
    except ValueError:
        logger.exception("client anna failed at order %s", stranger)
    # Then escapes and lines' ends are shown, and nothing passes for another line
    received, failed, *traceback = handler.stream.getvalue().splitlines()
    assert received == rf"Task worker.train[\x1b[1A\nINFO all is well{'x' * 10_000}"[:2000]
    assert failed == r"client anna failed at order \x1b[1A\nINFO all is well"
    assert traceback[-2:] == [r"  ValueError: \x1b[1A", "  INFO all is well"]


def test_what_a_user_s_code_prints_or_logs_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a table in several lines, when a user's code prints or logs it, then it is as long and has as many
    monkeypatch.delenv(FORMAT_VARIABLE, raising=False)
    for name in ("celery.redirected", "my_study"):
        logger, handler = logging.Logger(name), logging.StreamHandler(io.StringIO())
        logger.addHandler(handler)
        set_up_worker(logger)
        logger.warning("%s", "a row\n" * 1000)
        assert handler.stream.getvalue() == "a row\n" * 1000 + "\n"
