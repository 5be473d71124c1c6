from __future__ import annotations

import logging
import math
from pathlib import Path

import pytest

from orchestrator.driver.room import check_room
from orchestrator.store.run_folder import RunFolder
from tasks.errors import ConfigurationError
from tests.support import run_config

MB = 10**6


def check(path: Path, room: float | None, **changes: object) -> None:
    """Look for room for a model of 40 MB."""
    config = run_config(**{"num_clients": 10, "in_flight_mb": 64, **changes})
    folder = RunFolder.create(path / "run", config)
    with folder.checkpoint(0).open("wb") as file:
        file.truncate(40 * MB)
    check_room(config, folder, 0, room)


def test_what_a_run_takes_of_the_brokers_memory_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # Given ten clients, when there is room for the model, two updates and 30 connections, then it is told
    caplog.set_level(logging.INFO)
    check(tmp_path, 200 * MB)
    # 40 MB + 2 x 40 MB + 10 x 3 x 0.017 MB; on slow lines all ten updates
    assert caplog.messages[-1] == (
        "model, updates on their way and connections will take up to 120.5 MB of the broker's memory, 440.5 MB on slow "
        "lines; 200.0 MB are left (maxmemory)"
    )
    assert caplog.records[-1].levelno == logging.INFO


def test_without_a_limit_that_is_told_and_of_a_broker_that_doesnt_say_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    check(tmp_path / "a", math.inf, num_clients=2)
    assert caplog.messages[-1].endswith("120.1 MB of the broker's memory; there is no limit (maxmemory 0)")
    check(tmp_path / "b", None)
    assert "checkpoints of" in caplog.messages[-1]


def test_too_little_room_for_what_is_on_its_way_at_a_time_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given room for the model and an update, when two are to be on their way, then who reads the log is warned
    check(tmp_path, 100 * MB)
    [record] = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert "100.0 MB are left (maxmemory): clients will wait for room; raise maxmemory" in record.getMessage()


def test_a_model_that_doesnt_fit_with_an_update_is_refused_with_what_to_set(tmp_path: Path) -> None:
    # Given room for a model alone, when updates are as long as it, then the run is refused
    with pytest.raises(ConfigurationError) as caught:
        check(tmp_path / "a", 60 * MB)
    assert str(caught.value) == (
        "a model of 40.0 MB and an update take 80.0 MB of the broker's memory, and 60.0 MB are left (maxmemory): raise "
        "maxmemory by 20.0 MB or more"
    )
    # And where they may be shorter it isn't, unless the model travels as it is
    check(tmp_path / "b", 60 * MB, compression="topk:0.1")
    check(tmp_path / "c", 20 * MB, compression="int8")
    with pytest.raises(ConfigurationError, match=r"a model of 40\.0 MB takes 40\.0 MB of the broker's memory"):
        check(tmp_path / "d", 20 * MB, compression="topk:0.1")


def test_ten_thousand_clients_of_a_shared_worker_have_few_connections_and_arent_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given room for two models and more updates, but not for three connections of each of ten thousand clients
    check(tmp_path, 500 * MB, num_clients=10_000)
    assert [record for record in caplog.records if record.levelno == logging.WARNING] == []
