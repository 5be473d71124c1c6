"""The table on docs/broker.md: each row is tried with a broker that is like that, and says what the row says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis

from tasks.broker import needs
from tasks.broker.probe import check_broker
from tasks.errors import BrokerUnfitError, BrokerUnreachableError, ConfigurationError
from tests.integration import harness, unfit
from tests.orchestrator.start_command.invoking import one_line, refused
from worker.settings import ClientSettings

PAGE = (Path(__file__).parents[2] / "docs" / "broker.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| ([^*|].*) \| (.*) \|$", PAGE.partition("| what is wrong |")[2], re.MULTILINE))
"""What is wrong -> the cell with what is said."""
ELSEWHERE = {
    "it loads its data": "test_unfit_broker",
    "an orchestrator of an older version is at work there": "test_run_lock",
    "sixteen runs are on there": "test_run_lock",
}
"""Rows that another file has a test of, with two programs or a server that is started twice."""
CLIENT = needs.of_client("anna", "client.anna")


@pytest.fixture(scope="module")
def shared() -> Iterator[Redis]:
    """A server that many rows use."""
    with harness.server() as server:
        yield server.client


@pytest.fixture
def stage(shared: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[unfit.Stage]:
    """What scenes are made with, and a folder to stand in."""
    monkeypatch.chdir(tmp_path)
    with ExitStack() as stack:
        yield unfit.Stage(stack, shared, tmp_path)


def check_said(told: str, row: str) -> None:
    """Check that one line says what the row says, and no password."""
    for words in re.findall(r"`([^`]+)`", ROWS[row]):
        pattern = re.escape(words).replace("…", ".*").replace("HOST:PORT", r"(HOST:PORT|[\w.]+:\d+)")
        assert re.search(pattern, told), f"{row}: {told}"
    for secret in ("secret", "sec/ret", harness.PASSWORD, harness.ENCODED):
        assert secret not in told
    assert "\n" not in told


def told_to_orchestrator(url: str) -> str:
    """The line with which its command ends, which has the exit code 2."""
    return one_line(refused("--broker", url))


def told_to_client(url: str) -> str:
    """The error with which a client's worker ends, which has the exit code 2."""
    with pytest.raises(ConfigurationError) as caught:
        check_broker(ClientSettings.from_environment({"CELERY_BROKER_URL": url}).broker_url, CLIENT)
    assert caught.value.exit_code == 2
    told = str(caught.value)
    if not told.startswith("broker '"):  # its URL can be read
        waits = any(words in told for words in ("no Redis answers", "for now", "is away"))
        assert type(caught.value) is (BrokerUnreachableError if waits else BrokerUnfitError)
    return told


def test_each_row_has_a_scene_and_each_scene_a_row() -> None:
    scenes = [*unfit.URLS, *unfit.SCENES, *unfit.CLIENTS, *unfit.ORCHESTRATORS, *unfit.PASSING, *ELSEWHERE]
    assert sorted(scenes) == sorted(ROWS)
    assert len(ROWS) >= 60


@pytest.mark.parametrize("row", [*unfit.URLS, *unfit.SCENES])
def test_what_is_wrong_is_said_to_both_sides(stage: unfit.Stage, row: str) -> None:
    url = {**unfit.URLS, **unfit.SCENES}[row](stage)
    check_said(told_to_orchestrator(url), row)
    check_said(told_to_client(url), row)


@pytest.mark.parametrize(
    ("row", "scene", "told"),
    [
        *((row, scene, told_to_client) for row, scene in unfit.CLIENTS.items()),
        *((row, scene, told_to_orchestrator) for row, scene in unfit.ORCHESTRATORS.items()),
        # The orchestrator's command would wait for a minute.
        *((row, scene, told_to_client) for row, scene in unfit.PASSING.items()),
    ],
)
def test_what_is_wrong_is_said(stage: unfit.Stage, row: str, scene: unfit.Scene, told: Callable[[str], str]) -> None:
    check_said(told(scene(stage)), row)
