"""What a run logs, where, and with which fields."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.driver import logs
from orchestrator.driver.logs import NUM_FORMER, logging_run
from orchestrator.observers.events import RoundOpened
from orchestrator.store.run_folder import RunFolder
from tests.orchestrator.observers.telling import closed
from tests.support import run_config

logger = logging.getLogger("orchestrator.here")


@pytest.fixture(autouse=True)
def _own_levels() -> Iterator[None]:
    """Put back what a run changes of the process's loggers."""
    levels = {name: logging.getLogger(name).level for name in (None, "orchestrator")}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def log(tmp_path: Path, *, is_terminal: bool, **changes: Any) -> str:
    """Log a run of one round; return what is in its file."""
    config = run_config(**changes)
    folder = RunFolder.create(tmp_path / "run", config)
    with logging_run(config, folder, Console(file=io.StringIO(), force_terminal=is_terminal)) as note:
        logger.debug("nothing yet")
        note(RoundOpened(round_number=7, cohort=("anna",)))
        logger.info("at work", extra={"client_id": "anna"})
        logger.warning("of another", extra={"round_number": 3})
        note(closed(7))
        logger.info("it is over")
    logger.warning("nobody hears it")
    return (folder.logs / "orchestrator.log").read_text()


def test_lines_of_text_are_in_the_file_and_where_there_is_no_terminal_on_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a run whose output is no terminal, when it logs
    lines = log(tmp_path, is_terminal=False).splitlines()
    # Then its file has all that was said while it lasted, and standard error what an operator is to know
    assert [line.split(" orchestrator.here ")[1] for line in lines] == [
        "nothing yet", "at work", "of another", "it is over",
    ]  # fmt: skip
    said = capsys.readouterr().err.splitlines()
    assert [line.split(maxsplit=2)[2] for line in said] == ["INFO at work", "WARNING of another", "INFO it is over"]


def test_a_log_that_is_too_long_is_begun_anew_beside_some_former_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a run whose log is to have 20 kB a file, when it logs seven times as much
    monkeypatch.setattr(logs, "MAX_BYTES", 20_000)
    config = run_config()
    folder = RunFolder.create(tmp_path / "run", config)
    with logging_run(config, folder, Console(file=io.StringIO(), force_terminal=True)):
        for _ in range(7 * 20):
            logger.info("x" * 1000)
    # Then none is longer, and the oldest are gone
    files = sorted(folder.logs.iterdir())
    assert [path.name for path in files] == [
        "orchestrator.log",
        *(f"orchestrator.log.{n + 1}" for n in range(NUM_FORMER)),
    ]
    assert max(path.stat().st_size for path in files) <= 20_000


def test_what_a_stranger_wrote_is_a_line_and_no_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Given a run whose output is no terminal, when it logs what has escapes and lines in it
    folder = RunFolder.create(tmp_path / "run", run_config())
    with logging_run(folder.config(), folder, Console(file=io.StringIO())):
        logger.warning("passed over: %s", "\x1b[1A\nINFO all is well" + "x" * 60_000)
    # Then file and standard error have one line of it, where they are shown
    for said in ((folder.logs / "orchestrator.log").read_text(), capsys.readouterr().err):
        [line] = said.splitlines()
        assert r"passed over: \x1b[1A\nINFO all is well" in line
        assert len(line) < 2_100


def test_a_terminal_which_shows_the_run_gets_no_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Given a run that is shown on a terminal, when it logs, then the lines are in its file alone
    assert len(log(tmp_path, is_terminal=True).splitlines()) == 4
    assert capsys.readouterr().err == ""


def test_a_line_of_json_names_the_run_and_the_round_that_is_open_or_its_own(tmp_path: Path) -> None:
    # Given a run that logs JSON, when it logs before, in and after a round
    lines = [json.loads(line) for line in log(tmp_path, is_terminal=True, log_format="json").splitlines()]
    # Then each line has the run, those of a round have it, and what a line says itself stays
    assert {line["run_id"] for line in lines} == {"run"}
    assert [line.get("round_number") for line in lines] == [None, 7, 3, None]
    assert [line.get("client_id") for line in lines] == [None, "anna", None, None]
