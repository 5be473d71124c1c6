from __future__ import annotations

from pathlib import Path

import pytest

from tasks.errors import ConfigurationError, DataMissingError
from tasks.trust.enrolment import Enrolment
from tasks.trust.keys import fingerprint
from tasks.workload import Part
from tests.tasks.trust.test_enrolment import accepted
from worker.policy.default import write_default
from worker.policy.site import SitePolicy
from worker.settings import Allowed, ClientSettings

NO_USER = 4_000_000_123
"""A number that no user has."""


def settings(**environment: str) -> ClientSettings:
    return ClientSettings.from_environment({"CELERY_BROKER_URL": "redis://host", **environment})


def with_policy(own: Enrolment) -> Enrolment:
    """An enrolment with the policy that it begins with."""
    write_default(own.folder, fingerprint(own.site.orchestrator), "digits")
    return own


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
        num_clients=None,
    )
    assert (found.allowed, found.num_processes) == (Allowed(), 1)


def test_every_setting_has_a_variable(tmp_path: Path) -> None:
    # Given all variables
    policy = tmp_path / "policy.toml"
    policy.write_text('orders = ["train"]')
    variables = {
        "CELERY_BROKER_URL": "rediss://:secret@host:1/2",
        "CLIENT_ID": "anna",
        "CLIENT_DEVICE": "cuda:1",
        "CLIENT_WORKLOAD": "own.module:Model, b=2,a=1",
        "CLIENT_ALGORITHM": "own.module:Rule",
        "CLIENT_COMPRESSION": "own.module:short",
        "CLIENT_ORDERS": "own.module:ASK, own.other:TELL",
        "CLIENT_MIN_COUNT": "20",
        "CLIENT_TELLS_ERRORS": "yes",
        "CLIENT_POLICY": str(policy),
        "CLIENT_BLOBS": tmp_path.as_uri(),
        "CLIENT_DATA": str(tmp_path),
        "CLIENT_PART": "2/4",
        "CLIENT_STATE": "/somewhere",
        "CLIENT_HEARTBEAT_S": "0.5",
        "CLIENT_COUNT": "50",
        "CLIENT_CONCURRENCY": "3",
        "CLIENT_START_METHOD": "fork",
        "CLIENT_STAY": "yes",
    }
    found = ClientSettings.from_environment(variables)
    # When the settings are read, then each is what its variable says
    assert found == ClientSettings(
        broker_url="rediss://:secret@host:1/2",
        client_id="anna",
        device="cuda:1",
        tells_errors=True,
        workload="own.module:Model,a=1,b=2",
        algorithm="own.module:Rule",
        compression="own.module:short",
        orders=("own.module:ASK", "own.other:TELL"),
        min_count=20,
        policy=policy.resolve(),
        data=tmp_path.resolve(),
        part=Part(1, 4),
        state=Path("/somewhere"),
        heartbeat_s=0.5,
        blobs=tmp_path.as_uri(),
        num_clients=50,
        concurrency=3,
        start_method="fork",
        stay=True,
    )
    own_orders = ("own.module:ASK", "own.other:TELL")
    assert found.allowed == Allowed("own.module:Rule", "own.module:short", own_orders, 20, SitePolicy(policy.resolve()))
    assert found.num_processes == 3
    # And there are no others but that of an enrolment, which says some of these itself
    assert set(ClientSettings.variables().values()) == {*variables, "CLIENT_ENROLMENT"}


def test_many_clients_share_as_many_processes_as_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given four cores
    monkeypatch.setattr("worker.settings.num_cores", lambda: 4)
    # When there are more clients, or fewer, or one, then there is a process a core, but no more than there are clients
    assert [settings(CLIENT_COUNT=count).num_processes for count in ("1000", "4", "3", "1")] == [4, 4, 3, 1]
    # And a client alone has one, whatever the number of cores, as have those of a worker that is one process
    assert settings().num_processes == 1
    assert settings(CLIENT_COUNT="1000", CLIENT_START_METHOD="solo").num_processes == 1


def test_an_empty_variable_is_like_none() -> None:
    # Given variables that are set to nothing, as in a compose file, when they are read, then the defaults hold
    kinds = (
        "ID WORKLOAD BLOBS ALGORITHM COMPRESSION ORDERS DATA PART STATE HEARTBEAT_S COUNT CONCURRENCY START_METHOD STAY"
    )
    names = [f"CLIENT_{kind}" for kind in kinds.split()]
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


def test_without_a_home_the_state_folder_has_to_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a user of whom the system knows no home, as a container's may be
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.getuid", lambda: NO_USER)
    # When no folder is named, then the line says what to set; and one that is named will do
    with pytest.raises(ConfigurationError, match=rf"^user {NO_USER} has no home directory: CLIENT_STATE has to name"):
        settings()
    assert settings(CLIENT_STATE=str(tmp_path)).state == tmp_path


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
        ("CLIENT_PART", "3/2", "part 3 of 2: parts are counted from 1 to their number"),
        ("CLIENT_PART", "5/4", "part 5 of 4: parts are counted from 1 to their number"),
        ("CLIENT_HEARTBEAT_S", "often", "CLIENT_HEARTBEAT_S=often: a number from 0.1 to 3600 is allowed"),
        ("CLIENT_HEARTBEAT_S", "0", "CLIENT_HEARTBEAT_S=0: a number from 0.1 to 3600 is allowed"),
        ("CLIENT_HEARTBEAT_S", "3601", "CLIENT_HEARTBEAT_S=3601: a number from 0.1 to 3600 is allowed"),
        ("CLIENT_HEARTBEAT_S", "nan", "CLIENT_HEARTBEAT_S=nan: a number from 0.1 to 3600 is allowed"),
        ("CLIENT_DEVICE", "tpu", "device 'tpu': auto, cpu, cuda, cuda:N and mps are allowed"),
        ("CLIENT_COUNT", "0", "CLIENT_COUNT=0: a whole number from 1 to 100000 is allowed"),
        ("CLIENT_COUNT", "100001", "CLIENT_COUNT=100001: a whole number from 1 to 100000 is allowed"),
        ("CLIENT_COUNT", "many", "CLIENT_COUNT=many: a whole number from 1 to 100000 is allowed"),
        ("CLIENT_COUNT", "-3", "CLIENT_COUNT=-3: a whole number from 1 to 100000 is allowed"),
        ("CLIENT_COUNT", "2.5", "CLIENT_COUNT=2.5: a whole number from 1 to 100000 is allowed"),
        ("CLIENT_CONCURRENCY", "0", "CLIENT_CONCURRENCY=0: a whole number from 1 to 1000 is allowed"),
        ("CLIENT_START_METHOD", "forkserver", "CLIENT_START_METHOD=forkserver: one of spawn, fork, solo is allowed"),
        ("CLIENT_CONCURRENCY", "all", "CLIENT_CONCURRENCY=all: a whole number from 1 to 1000 is allowed"),
        ("CLIENT_CONCURRENCY", "2", "CLIENT_CONCURRENCY=2: a client carries out one order at a time; set CLIENT_COUNT"),
        ("CLIENT_BLOBS", "redis://other", "blobs 'redis://other': of all Redis servers only the broker may hold them"),
        ("CLIENT_BLOBS", "file:///nowhere/at/all", "blobs 'file:///nowhere/at/all': there is no such folder here"),
        ("CELERY_BROKER_URL", "localhost", "broker 'localhost': write redis://HOST:PORT/DB"),
        ("CELERY_BROKER_URL", "amqp://somewhere", "broker 'amqp://somewhere': write redis://HOST:PORT/DB"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_is_allowed(name: str, value: str, message: str) -> None:
    # Given one variable that is wrong, when the settings are read, then the message says what is allowed
    with pytest.raises(ConfigurationError) as caught:
        settings(**{name: value})
    assert str(caught.value).startswith(message)


def test_a_prefix_that_leaves_no_room_for_the_clients_numbers_is_refused() -> None:
    # Given what ids begin with, of which 64 letters are allowed, when the number makes them longer, then it is refused
    assert settings(CLIENT_ID="x" * 61, CLIENT_COUNT="50").client_id == "x" * 61
    with pytest.raises(ConfigurationError, match=r"client id 'x{61}-100': 1 to 64 letters"):
        settings(CLIENT_ID="x" * 61, CLIENT_COUNT="100")


@pytest.mark.parametrize("text", ["/nowhere/at/all", __file__])
def test_a_data_folder_that_isnt_one_is_refused_with_its_variable(text: str) -> None:
    # Given no folder, or a file, when the settings are read, then the message names the variable
    with pytest.raises(DataMissingError, match=f"CLIENT_DATA={text}: there is no such folder"):
        settings(CLIENT_DATA=text)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CLIENT_WORKLAOD", "CLIENT_WORKLOAD"),
        ("CLIENT_ALGORITM", "CLIENT_ALGORITHM"),
        ("CLIENT_HEARTBEAT", "CLIENT_HEARTBEAT_S"),
        ("CLIENT_PARTS", "CLIENT_PART"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_nearest(name: str, meant: str) -> None:
    # Given a slip in a variable's name, when the settings are read, then the message names the one that was meant
    with pytest.raises(ConfigurationError) as caught:
        settings(**{name: "1"})
    assert str(caught.value).startswith(f"{name}: there is no such setting, did you mean {meant}? known are ")


def test_variables_of_others_that_begin_alike_are_left_alone() -> None:
    # Given what other programs of the same environment are set up by, when the settings are read, then they are read
    others = {"CLIENT_SECRET": "s", "CLIENT_PORT": "tcp://10.0.0.1:80", "CLIENT_SERVICE_HOST": "10.0.0.1"}
    assert settings(XDG_STATE_HOME="/s", **others) == settings(XDG_STATE_HOME="/s")


def test_an_enrolment_says_who_the_client_is_and_where_the_broker_is(tmp_path: Path) -> None:
    # Given an enrolment that a variable names, or that is in the folder of the state
    own = with_policy(accepted(tmp_path))
    named = ClientSettings.from_environment({"CLIENT_ENROLMENT": str(own.folder), "CLIENT_STATE": "/state"})
    found = ClientSettings.from_environment({"CLIENT_STATE": str(tmp_path)})
    # When the settings are read, then they are the enrolment's
    for read in (named, found):
        assert (read.client_id, read.num_clients) == ("hospital-a", None)
        assert read.broker_url == own.broker_url
        assert read.site is not None
        assert own.password not in repr(read.site)
        assert read.allowed.policy == SitePolicy(own.folder / "policy.toml", fingerprint(read.site.orchestrator))
    # And without one nobody is checked
    assert ClientSettings.from_environment({"CLIENT_STATE": str(tmp_path / "other")}).site is None


def test_an_enrolled_client_without_a_policy_doesnt_begin(tmp_path: Path) -> None:
    # Given a site that is enrolled, and whose policy was removed, when it starts, then it is told how to get one
    own = accepted(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        ClientSettings.from_environment({"CLIENT_STATE": str(tmp_path)})
    policy = own.folder / "policy.toml"
    assert str(caught.value).startswith(f"CLIENT_POLICY: {policy}: No such file or directory: python -m worker.policy")
    # And only if its owner says so it does without
    found = ClientSettings.from_environment({"CLIENT_STATE": str(tmp_path), "CLIENT_POLICY": "none"})
    assert found.allowed.policy == SitePolicy(None)
    # A file of that name is a file
    with pytest.raises(ConfigurationError, match="No such file or directory"):
        ClientSettings.from_environment({"CLIENT_STATE": str(tmp_path), "CLIENT_POLICY": "./none"})


def test_an_enrolled_client_takes_no_policy_that_leaves_a_limit_out(tmp_path: Path) -> None:
    own = accepted(tmp_path)
    (own.folder / "policy.toml").write_text('orders = ["train"]\nworkloads = ["digits"]\nmax_epochs = inf')
    with pytest.raises(
        ConfigurationError, match=r"policy\.toml: max_timeout_s: the policy of a client that is enrolled"
    ):
        ClientSettings.from_environment({"CLIENT_STATE": str(tmp_path)})


def test_what_an_enrolment_says_may_be_said_again(tmp_path: Path) -> None:
    same = {"CLIENT_ID": "hospital-a", "CELERY_BROKER_URL": "rediss://broker:6379/0"}
    assert settings(**same, CLIENT_STATE=str(with_policy(accepted(tmp_path)).folder.parent)).client_id == "hospital-a"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("CLIENT_ID", "hospital-b", "is the enrolment of hospital-a"),
        ("CLIENT_COUNT", "3", "is the enrolment of no count"),
        ("CELERY_BROKER_URL", "redis://elsewhere", "is an enrolment with rediss://broker:6379/0"),
    ],
)
def test_what_contradicts_an_enrolment_is_refused(tmp_path: Path, variable: str, value: str, said: str) -> None:
    accepted(tmp_path)
    with pytest.raises(ConfigurationError, match=said):
        ClientSettings.from_environment({"CLIENT_STATE": str(tmp_path), variable: value})


def test_an_enrolment_whose_secrets_others_may_read_is_refused(tmp_path: Path) -> None:
    own = accepted(tmp_path)
    (own.folder / "key.pem").chmod(0o644)
    with pytest.raises(ConfigurationError, match="others than its owner may read it"):
        ClientSettings.from_environment({"CLIENT_STATE": str(tmp_path)})


def test_a_site_whose_operator_has_not_answered_yet_joins_no_other_broker_by_default(tmp_path: Path) -> None:
    # Given a site that has asked, when it starts, then it is told what is missing; another broker it may name
    Enrolment.make(tmp_path / "enrolment")
    with pytest.raises(ConfigurationError, match=r"worker\.enrol accept PACKAGE"):
        ClientSettings.from_environment({"CLIENT_STATE": str(tmp_path)})
    found = ClientSettings.from_environment({"CLIENT_STATE": str(tmp_path), "CELERY_BROKER_URL": "redis://elsewhere"})
    assert (found.broker_url, found.enrolment) == ("redis://elsewhere", None)
