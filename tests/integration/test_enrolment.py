"""Enrolment over TLS with a real broker: what docs/enrolment.md says to do, and what then can't be done."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from redis import Redis
from redis.exceptions import AuthenticationError

from orchestrator.trust.watch import Watch
from tasks.broker import needs
from tasks.broker.connection import connect
from tasks.broker.probe import check_broker
from tasks.errors import BrokerUnfitError, BrokerUnreachableError
from tasks.trust.enrolment import Enrolment
from tests.integration.enrolled import PULLED, Federation
from tests.integration.harness import Field, free_port, history, server, summary, wait_until
from tests.integration.pump import pump


@pytest.fixture
def federation(field: Field, tmp_path: Path) -> Federation:
    """An operator's folder, and the broker that was started with it."""
    made = Federation(field, tmp_path, free_port())
    made.init()
    made.start_broker()
    return made


def enrolment(federation: Federation, name: str) -> Enrolment:
    return Enrolment(federation.site(name) / "state" / "enrolment")


def refused(url: str, kind: type[Exception] = BrokerUnfitError) -> str:
    """What a client's worker is told that looks at the broker."""
    with pytest.raises(kind) as caught:
        check_broker(url, needs.of_client("hospital-a", "client.hospital-a"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def admitted(federation: Federation) -> list[str]:
    """The users that the broker lets in."""
    with connect(federation.authority.broker_url) as redis:
        return [str(user) for user in redis.acl_users()]


def test_the_page_s_commands_lead_from_nothing_to_a_model(field: Field, tmp_path: Path) -> None:
    # Given two sites that were enrolled by the page's commands, each in a process of its own
    federation = Federation(field, tmp_path, free_port(), in_processes=True)
    federation.init()
    federation.start_broker()
    said = [text for name in ("hospital-a", "hospital-b") for text in federation.enrol(name)]
    assert not any("doesn't know yet" in text for text in said)
    # When their workers and the run are started
    programs = [federation.start_client(name) for name in ("hospital-a", "hospital-b")]
    programs.append(run := federation.start_run("--rounds", "3"))
    run.succeeds()
    # Then both trained, and the model is good
    folder = federation.desk / "run"
    assert sorted(history(folder)[-1]["responses"]) == ["hospital-a", "hospital-b"]
    assert summary(folder)["final"]["accuracy"] > 0.8
    # And the trail is whole, and the operator sees both
    federation.done("python -m orchestrator.trust audit operator run", federation.desk)
    assert federation.done("python -m orchestrator.trust list operator", federation.desk).count(" enrolled ") == 2
    # And no secret was said, or stands where it needn't
    own = [enrolment(federation, name).password for name in ("hospital-a", "hospital-b")]
    password = (federation.desk / "operator/orchestrator/password").read_text()
    private = {"password"}
    told = [path for path in tmp_path.rglob("*") if path.is_file() and path.name not in private]
    assert len(told) > 20
    assert not [path for path in told if any(word.encode() in path.read_bytes() for word in (*own, password))]
    assert not [word for program in programs for word in own if word in program.output]


def test_who_is_revoked_in_a_running_run_is_out(federation: Federation) -> None:
    # Given a run in which two clients train
    for name in ("hospital-a", "hospital-b"):
        federation.enrol(name, **PULLED)
    workers = [federation.start_client(name, STEP_S="0.1", **PULLED) for name in ("hospital-a", "hospital-b")]
    options = ("--rounds", "12", "--epochs", "5", "--min-updates", "1", "--workload", "pulled:Pulled")
    run = federation.field.start(
        "orchestrator", "orchestrator.start", "--broker", "operator", "--clients", "2", *options, "--run-dir", "run",
        cwd=federation.desk, **PULLED,
    )  # fmt: skip
    wait_until(lambda: history(federation.desk / "run"), "a round is closed")
    assert "client-hospital-b" in federation.users()
    # When one is revoked
    said = federation.done("python -m orchestrator.trust revoke operator hospital-b", federation.desk)
    assert "doesn't know yet" not in said
    # Then its connections have ended, and its worker can't make new ones
    assert "client-hospital-b" not in federation.users()
    wait_until(lambda: "invalid username-password pair" in workers[1].output, "its worker is refused")
    assert "client-hospital-b" not in federation.users()
    # And ends with a line, and the code of what a restart won't mend
    assert workers[1].wait() == 2
    assert (
        workers[1].output.count("client hospital-b: the broker lets this worker in no longer, as it was revoked") == 1
    )
    again = federation.start_client("hospital-b", **PULLED)
    assert again.wait() == 2
    assert "refuses: WRONGPASS" in again.output
    # And the run goes on without it
    run.succeeds()
    assert list(history(federation.desk / "run")[-1]["responses"]) == ["hospital-a"]
    # And a broker that is started anew with the operator's files doesn't let it in, either
    assert "client-hospital-b" not in federation.authority.users.read_text()


def test_who_is_revoked_while_the_broker_is_away_is_cut_off_when_it_is_told_of_another(federation: Federation) -> None:
    # Given a client that was revoked when the broker couldn't be told, and is a user there still
    federation.enrol("hospital-a")
    federation.authority.revoke("hospital-a")
    assert "client-hospital-a" in admitted(federation)
    # When another is let in
    federation.enrol("hospital-b")
    # Then the broker lets in that one alone, now and when it is started with what it saved
    assert "client-hospital-a" not in admitted(federation)
    saved = federation.authority.users.read_text()
    assert "client-hospital-b" in saved
    assert "client-hospital-a" not in saved


def test_who_was_cut_off_stays_so_when_the_broker_is_told_of_another(federation: Federation) -> None:
    # Given a client that was cut off, as it took too much of the broker
    federation.enrol("hospital-a")
    url = enrolment(federation, "hospital-a").broker_url
    with connect(federation.authority.broker_url) as redis:
        assert Watch(redis, federation.authority.clients).cut_off("hospital-a", "too much") == ["hospital-a"]
    # When another is let in, and is revoked
    federation.enrol("hospital-b")
    federation.done("python -m orchestrator.trust revoke operator hospital-b", federation.desk)
    # Then the first stays out, until the operator renews its enrolment
    assert "WRONGPASS" in refused(url)
    federation.done("python -m orchestrator.trust renew operator hospital-a", federation.desk)
    check_broker(url, needs.of_client("hospital-a", "client.hospital-a"))


def test_a_broker_that_is_started_anew_has_all_that_its_file_has(field: Field, tmp_path: Path) -> None:
    # Given a broker that appends what it is told to a file, a transaction and a script among it
    federation = Federation(field, tmp_path, free_port())
    federation.init()
    with (federation.authority.broker / "redis.conf").open("a") as config:
        config.write("appendonly yes\nappendfsync always\n")
    broker = federation.start_broker()
    with connect(federation.authority.broker_url) as redis:
        with redis.pipeline(transaction=True) as pipe:
            pipe.set("fl:a", "1").set("fl:b", "2", ex=600).execute()
        redis.eval("redis.call('SET', KEYS[1], '3') redis.call('SET', KEYS[2], '4')", 2, "fl:c", "fl:d")
    # When it ends and is started anew
    broker.process.terminate()
    broker.wait()
    federation.start_broker()
    # Then it has it all, and lets nobody in who says no name
    with connect(federation.authority.broker_url) as redis:
        assert redis.mget("fl:a", "fl:b", "fl:c", "fl:d") == [b"1", b"2", b"3", b"4"]
    nobody = f"rediss://{federation.authority.broker_url.partition('@')[2]}"
    with connect(nobody, retries=0) as redis, pytest.raises(AuthenticationError):
        redis.get("fl:a")


def test_the_broker_takes_nobody_without_certificate_or_tls(federation: Federation) -> None:
    # Given an enrolled client's password, which somebody else has got hold of
    federation.enrol("hospital-a")
    url = enrolment(federation, "hospital-a").broker_url
    check_broker(url, needs.of_client("hospital-a", "client.hospital-a"))
    # When it is used without the certificate, or without TLS, or by the wrong name, then nobody is let in
    place, _, settings = url.partition("?")
    authority = settings.partition("&")[0]
    assert "wants a certificate" in refused(f"{place}?{authority}&ssl_ca_only=true")
    refused(place.replace("rediss://", "redis://"), BrokerUnreachableError)
    assert "isn't trusted" in refused(url.replace("@127.0.0.1:", "@localhost:"))
    # And the default user, which no client has to name, is off
    with pytest.raises(AuthenticationError):
        connect(f"{place.replace(place.split('@')[0], 'rediss://default:x')}?{settings}", retries=0).ping()


@pytest.mark.parametrize("is_trusted_by_the_system", [False, True])
def test_a_man_in_the_middle_is_refused(
    field: Field, broker: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_trusted_by_the_system: bool
) -> None:
    # Given somebody on the way who has a certificate for the broker's address, of another authority
    other, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    other.issue_cert("127.0.0.1").configure_cert(context)
    if is_trusted_by_the_system:
        other.cert_pem.write_to_path(str(tmp_path / "system.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    seen = bytearray()

    def note(data: bytes) -> bytes:
        seen.extend(data)
        return data

    with pump(broker, [2**16], context, note) as port:
        federation = Federation(field, tmp_path, port)
        federation.init()
        federation.enrol("hospital-a")
        # When a client or the orchestrator comes, then it goes, and has said nothing
        own = enrolment(federation, "hospital-a")
        for url in (own.broker_url, federation.authority.broker_url):
            assert "shows a certificate that isn't trusted" in refused(url)
        client = federation.start_client("hospital-a")
        assert client.wait() == 2
        assert "shows a certificate that isn't trusted" in client.output
        run = federation.start_run()
        assert run.wait() == 2
        assert "shows a certificate that isn't trusted" in run.output
    assert seen == b""


def test_nothing_is_said_to_a_broker_without_tls(field: Field, tmp_path: Path) -> None:
    # Given somebody who takes the broker's place without TLS
    port = free_port()
    federation = Federation(field, tmp_path, port)
    federation.init()
    federation.enrol("hospital-a")
    with server("--port", str(port)) as plain:
        before = plain.client.info("stats")["total_error_replies"]
        # When a client comes, then it says no word that the server understands
        assert "over TLS" in refused(enrolment(federation, "hospital-a").broker_url, BrokerUnreachableError)
        assert plain.client.info("stats")["total_error_replies"] == before


def test_keys_that_others_may_read_are_refused(federation: Federation) -> None:
    federation.enrol("hospital-a")
    key = enrolment(federation, "hospital-a").folder / "key.pem"
    key.chmod(0o644)
    client = federation.start_client("hospital-a")
    assert client.wait() == 2
    assert "others than its owner may read it" in client.output
    own = federation.desk / "operator/orchestrator/key.pem"
    own.chmod(0o640)
    run = federation.start_run()
    assert run.wait() == 2
    assert "others than its owner may read it" in run.output
    assert not any("Traceback" in program.output for program in (client, run))
