from __future__ import annotations

from pathlib import Path

import pytest

from tasks.errors import ConfigurationError, DataMissingError
from tasks.workload import Part
from worker.settings import ClientSettings


def settings(**environment: str) -> ClientSettings:
    return ClientSettings.from_environment({"CELERY_BROKER_URL": "redis://host", **environment})


def test_without_settings_a_client_has_the_defaults() -> None:
    # Given a home and nothing else
    found = settings(XDG_STATE_HOME="/state")
    # When the settings are read, then they are these
    assert found == ClientSettings(
        broker_url="redis://host",
        client_id=None,
        workload="digits",
        data=None,
        part=None,
        state=Path("/state/celeriac"),
        heartbeat_s=2.0,
    )


def test_every_setting_has_a_variable(tmp_path: Path) -> None:
    # Given all variables
    found = ClientSettings.from_environment(
        {
            "CELERY_BROKER_URL": "rediss://:secret@host:1/2",
            "CLIENT_ID": "anna",
            "CLIENT_WORKLOAD": "own.module:Model, b=2,a=1",
            "CLIENT_DATA": str(tmp_path),
            "CLIENT_PART": "2/4",
            "CLIENT_STATE": "/somewhere",
            "CLIENT_HEARTBEAT_S": "0.5",
            "HOME": "/home/anna",
        }
    )
    # When the settings are read, then each is what its variable says
    assert found == ClientSettings(
        broker_url="rediss://:secret@host:1/2",
        client_id="anna",
        workload="own.module:Model,a=1,b=2",
        data=tmp_path.resolve(),
        part=Part(1, 4),
        state=Path("/somewhere"),
        heartbeat_s=0.5,
    )


def test_an_empty_variable_is_like_none() -> None:
    # Given variables that are set to nothing, as in a compose file, when they are read, then the defaults hold
    names = ["CLIENT_ID", "CLIENT_WORKLOAD", "CLIENT_DATA", "CLIENT_PART", "CLIENT_STATE", "CLIENT_HEARTBEAT_S"]
    assert settings(XDG_STATE_HOME="/s", **dict.fromkeys(names, "")) == settings(XDG_STATE_HOME="/s")


def test_the_broker_is_the_given_environments_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a process with a broker of its own
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://elsewhere")
    # When settings are read from an environment without one, then it is the default
    assert ClientSettings.from_environment({}).broker_url == "redis://localhost:6379/0"


def test_the_state_folder_is_below_home_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a home, when no folder is named, then it is the one for a program's state
    monkeypatch.setenv("HOME", "/home/anna")
    assert settings().state == Path("/home/anna/.local/state/celeriac")


def test_a_folder_below_home_may_be_named_by_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a home with data in it
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    # When folders are named by a tilde, as no shell has replaced it, then they are found there
    found = settings(CLIENT_DATA="~/data", CLIENT_STATE="~/state")
    assert found.data == (tmp_path / "data").resolve()
    assert found.state == tmp_path / "state"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("CLIENT_ID", "anna/bert", "client id 'anna/bert': 1 to 64 letters"),
        ("CLIENT_PART", "2", "part '2': write the number of the part and of all parts, like 2/4"),
        ("CLIENT_PART", "5/4", "part 5 of 4: parts are counted from 1 to their number"),
        ("CLIENT_HEARTBEAT_S", "often", "CLIENT_HEARTBEAT_S=often: seconds from 0.1 to 3600 are allowed"),
        ("CLIENT_HEARTBEAT_S", "0", "CLIENT_HEARTBEAT_S=0: seconds from 0.1 to 3600 are allowed"),
        ("CLIENT_HEARTBEAT_S", "3601", "CLIENT_HEARTBEAT_S=3601: seconds from 0.1 to 3600 are allowed"),
        ("CLIENT_HEARTBEAT_S", "nan", "CLIENT_HEARTBEAT_S=nan: seconds from 0.1 to 3600 are allowed"),
        ("CELERY_BROKER_URL", "localhost", "broker 'localhost': write redis://HOST:PORT/DB"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_is_allowed(name: str, value: str, message: str) -> None:
    # Given one variable that is wrong, when the settings are read, then the message says what is allowed
    with pytest.raises(ConfigurationError) as caught:
        settings(**{name: value})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("text", ["/nowhere/at/all", __file__])
def test_a_data_folder_that_isnt_one_is_refused_with_its_variable(text: str) -> None:
    # Given no folder, or a file, when the settings are read, then the message names the variable
    with pytest.raises(DataMissingError, match=f"CLIENT_DATA={text}: there is no such folder"):
        settings(CLIENT_DATA=text)
