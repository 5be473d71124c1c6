"""Both commands of an enrolment, one after the other, and what each refuses with one line and exit code 2."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click import Group
from click.testing import CliRunner, Result

from orchestrator.trust.__main__ import main as operator
from orchestrator.trust.authority import Authority
from tasks.trust.enrolment import Enrolment
from tasks.trust.keys import fingerprint, read_public
from tasks.trust.papers import Package, Request, package_in, request_in, requests_in
from worker.enrol import main as site

NOWHERE = "127.0.0.1"
"""Where no broker is at port 1, which commands say, and go on."""
OTHERS = "AAAAAA-AAAAAA-AAAAAA-AAAAAA"


def call(command: Group, *words: str | Path, answer: str = "") -> Result:
    return CliRunner().invoke(command, [str(word) for word in words], input=answer)


def done(command: Group, *words: str | Path, answer: str = "") -> str:
    result = call(command, *words, answer=answer)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def refused(command: Group, *words: str | Path, answer: str = "") -> str:
    """What a command says that ends with exit code 2 and one line."""
    result = call(command, *words, answer=answer)
    assert result.exit_code == 2, (result.output, result.exception)
    assert re.fullmatch(r"error: [^\n]+\n", result.stderr), result.stderr
    return result.stderr


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with an operator's folder in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLIENT_ENROLMENT", raising=False)
    monkeypatch.setenv("CLIENT_STATE", str(tmp_path / "state"))
    done(operator, "init", "op", "--host", NOWHERE, "--port", "1")
    return tmp_path


def let_in(client_id: str = "anna") -> str:
    """Have this site ask and the operator let it in; return the fingerprint of its key."""
    done(site, "request", "--id", client_id)
    found = fingerprint(read_public(Request.read(Path(f"{client_id}.request.json")).key))
    done(operator, "approve", "op", f"{client_id}.request.json", "--fingerprint", found)
    return found


def test_both_read_the_same_fingerprints_out(here: Path) -> None:
    # Given a site that asks
    asked = done(site, "request", "--id", "anna")
    (client,) = re.findall(r"read out to the operator: (\S+)", asked)
    # When the operator says that the fingerprint is right
    approved = done(operator, "approve", "op", "anna.request.json", answer="y\n")
    assert f"anna: its fingerprint is {client}" in approved
    assert "the broker doesn't know yet (" in approved
    (orchestrator,) = re.findall(r"the orchestrator's fingerprint: (\S+)", approved)
    # Then the site finds the operator's in the package
    accepted = done(site, "accept", "anna.package.json")
    assert f"the orchestrator's fingerprint: {orchestrator}; compare it" in accepted
    assert Enrolment(here / "state" / "enrolment").package.client_id == "anna"
    assert re.search(rf"^anna +1 +enrolled +\d{{4}}-\d\d-\d\d +{client}$", done(operator, "list", "op"), re.MULTILINE)


def test_no_secret_is_in_what_is_handed_over_or_said(here: Path) -> None:
    told = [done(site, "request", "--id", "anna"), done(operator, "approve", "op", "anna.request.json", answer="y\n")]
    told += [done(site, "accept", "anna.package.json"), done(operator, "list", "op")]
    told += [path.read_text() for path in here.glob("*.json")]
    secrets = [(here / folder / "password").read_text() for folder in ("state/enrolment", "op/orchestrator")]
    assert not [text for text in told if "PRIVATE KEY" in text or any(secret in text for secret in secrets)]


def test_a_request_that_is_made_again_is_the_same_but_for_what_it_asks(here: Path) -> None:
    done(site, "request", "--id", "anna")
    first = Request.read(here / "anna.request.json")
    done(site, "request", "--id", "lab", "--count", "20")
    second = Request.read(here / "lab.request.json")
    assert (first.key, first.password_digest) == (second.key, second.password_digest)
    assert (second.client_id, second.count) == ("lab", 20)


@pytest.mark.parametrize(
    "words", [("--id", "../a"), ("--id", "enrolment"), ("--id", "a", "--count", "0"), ("--id", ""), ()]
)
def test_an_id_that_cant_be_one_is_refused(here: Path, words: tuple[str, ...]) -> None:
    result = call(site, "request", *words)
    assert (result.exit_code, list(here.glob("*.request.json"))) == (2, [])
    assert "Traceback" not in result.output


def test_the_operator_lets_nobody_in_whose_fingerprint_isnt_right(here: Path) -> None:
    done(site, "request", "--id", "anna")
    told = refused(operator, "approve", "op", "anna.request.json", "--fingerprint", OTHERS)
    assert "isn't its fingerprint" in told
    for answer in ("n\n", "\n"):
        result = call(operator, "approve", "op", "anna.request.json", answer=answer)
        assert (result.exit_code, "wasn't let in" in result.stderr) == (2, True)
    assert list(Authority(here / "op").clients.all()) == []
    assert not (here / "anna.package.json").exists()


def test_a_request_that_was_changed_on_its_way_is_refused(here: Path) -> None:
    done(site, "request", "--id", "anna")
    message = json.loads((here / "anna.request.json").read_text())
    (here / "anna.request.json").write_text(json.dumps({**message, "password_digest": "b" * 64}))
    assert "signature isn't right" in refused(operator, "approve", "op", "anna.request.json", "--fingerprint", OTHERS)


def test_a_package_that_was_changed_on_its_way_is_refused(here: Path) -> None:
    let_in()
    message = json.loads((here / "anna.package.json").read_text())
    (here / "anna.package.json").write_text(json.dumps({**message, "broker": "redis://elsewhere:6379/0"}))
    assert "signature isn't right" in refused(site, "accept", "anna.package.json")
    assert not Enrolment(here / "state" / "enrolment").is_accepted


def test_a_package_for_another_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    let_in()
    monkeypatch.setenv("CLIENT_STATE", str(here / "other"))
    done(site, "request", "--id", "berta")
    assert "it is for another key of anna" in refused(site, "accept", "anna.package.json")


def test_a_package_of_another_orchestrator_is_refused(here: Path) -> None:
    # Given a package that somebody made for this site's request, with an authority of their own
    own = let_in()
    done(operator, "init", "evil", "--host", NOWHERE, "--port", "1")
    request = ("anna.request.json", "--fingerprint", own, "--output", "evil.json")
    done(operator, "approve", "evil", *request)
    # When it is accepted by the right fingerprint, then it is refused
    right = fingerprint(Authority(here / "op").key)
    assert "isn't the orchestrator's fingerprint" in refused(site, "accept", "evil.json", "--fingerprint", right)
    done(site, "accept", "anna.package.json", "--fingerprint", right.lower())
    # And once the site knows its orchestrator, another's is refused without one, too
    assert "it is from another orchestrator (" in refused(site, "accept", "evil.json")
    # But a new package of the same is taken
    done(operator, "renew", "op", "anna")
    done(site, "accept", "anna.package.json")
    evil = fingerprint(Authority(here / "evil").key)
    assert f"the orchestrator's fingerprint: {evil}\n" in done(site, "accept", "evil.json", "--fingerprint", evil)


def test_a_package_that_is_over_is_refused(here: Path) -> None:
    let_in()
    package, own = Package.read(here / "anna.package.json"), Authority(here / "op").key
    ended = package.model_copy(update={"until": datetime.now(UTC) - timedelta(days=1)})
    ended.save(here / "old.json", own)
    assert "the enrolment of anna ended on" in refused(site, "accept", "old.json")


def test_who_is_revoked_is_renewed_by_a_new_request_alone(here: Path) -> None:
    let_in()
    assert "no answer of its counts any more" in done(operator, "revoke", "op", "anna")
    assert "client anna was revoked: approve a new request" in refused(operator, "renew", "op", "anna")
    assert " revoked " in done(operator, "list", "op")
    assert "no client 'berta' is enrolled; these are: anna" in refused(operator, "revoke", "op", "berta")


@pytest.mark.parametrize("host", ["a b", "", "bröker", "a/b", "user@host"])
def test_a_host_that_cant_be_one_is_refused_and_leaves_nothing(here: Path, host: str) -> None:
    refused(operator, "init", "other", "--host", host)
    assert not (here / "other").exists()


def test_what_isnt_there_is_refused(here: Path) -> None:
    assert "there is no such file" in refused(operator, "approve", "op", "none.json")
    assert "there is no such file" in refused(site, "accept", "none.json")
    assert "python -m orchestrator.trust init" in refused(operator, "list", "nowhere")
    assert "it is there already" in refused(operator, "init", "op", "--host", NOWHERE)


@pytest.mark.parametrize("output", ["nowhere/out.json", "op"])
def test_where_nothing_can_be_written_is_said(here: Path, output: str) -> None:
    let_in()
    assert "it can't be written" in refused(site, "request", "--id", "anna", "--output", output)
    assert "it can't be written" in refused(operator, "renew", "op", "anna", "--output", output)


@pytest.mark.parametrize(
    "name", ["orchestrator/password", "broker-url", "authority/authority.key", "authority/authority.pem"]
)
def test_an_operator_s_folder_that_is_damaged_is_said(here: Path, name: str) -> None:
    let_in()
    (here / "op" / name).write_bytes(b"\xff")
    assert str(Path("op") / name).rpartition("/")[0] in refused(operator, "renew", "op", "anna").splitlines()[0]


@pytest.mark.parametrize("text", [b"\xff", b"", b"\n"], ids=["no text", "empty", "blank"])
def test_a_password_that_is_damaged_is_said(here: Path, text: bytes) -> None:
    let_in()
    (here / "state" / "enrolment" / "password").write_bytes(text)
    assert "it can't be read as a password" in refused(site, "request", "--id", "anna")


def test_a_package_that_cannot_be_kept_is_said(here: Path) -> None:
    let_in()
    (here / "state" / "enrolment" / "certificate.pem").mkdir()
    assert "Is a directory" in refused(site, "accept", "anna.package.json")


@pytest.fixture
def handed(here: Path) -> tuple[str, ...]:
    """The folders in which a client asks and finds the answer, as options."""
    for name in ("requests", "packages"):
        (here / name).mkdir()
    return ("--requests", "requests", "--packages", "packages")


def admit(client_id: str) -> None:
    """What an operator does that lets in who asks."""
    authority = Authority(Path("op"))
    client = authority.approve(Request.read(request_in(Path("requests"), client_id)))
    authority.package(client).save(package_in(Path("packages"), client_id), authority.key)


def test_who_asks_waits_for_an_answer_and_is_enrolled(here: Path, handed: tuple[str, ...]) -> None:
    # Given a client that nobody has named, and nobody who answers
    result = call(site, "ask", *handed, "--patience", "0")
    # When it has waited, then it says so, as what passes
    assert (result.exit_code, "nobody has answered" in result.stderr) == (1, True)
    (asked,) = requests_in(here / "requests")
    name = asked.name.removesuffix(".request.json")
    assert re.fullmatch("client-[a-z2-7]{8}", name)
    # And when it was let in, it takes what is there
    admit(name)
    assert f"{name} is enrolled until" in done(site, "ask", *handed)
    assert Enrolment(here / "state" / "enrolment").package.client_id == name


def test_who_is_enrolled_asks_no_more(here: Path, handed: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a client by a name, that is enrolled
    monkeypatch.setenv("CLIENT_ID", "anna")
    call(site, "ask", *handed, "--patience", "0")
    admit("anna")
    done(site, "ask", *handed)
    request_in(here / "requests", "anna").unlink()
    # When it is started again, then it goes on without asking, by the policy that it has, or by another that is named
    policy = here / "state" / "enrolment" / "policy.toml"
    policy.unlink()
    monkeypatch.setenv("CLIENT_POLICY", "none")
    assert done(site, "ask", *handed) == ""
    monkeypatch.delenv("CLIENT_POLICY")
    assert str(policy) in done(site, "ask", *handed)
    assert done(site, "ask", *handed) == ""
    assert requests_in(here / "requests") == []


def test_who_asks_takes_no_package_of_another_key_or_orchestrator(
    here: Path, handed: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIENT_ID", "anna")
    call(site, "ask", *handed, "--patience", "0")
    # Given a package for another key, by the same id
    other = Enrolment.make(here / "other").request("anna", None)
    authority = Authority(here / "op")
    authority.package(authority.approve(other)).save(package_in(here / "packages", "anna"), authority.key)
    # When a client asks, then it is as if there were none
    assert call(site, "ask", *handed, "--patience", "0").exit_code == 1
    # And when it is enrolled and asks by another id, another orchestrator's is refused
    authority.revoke("anna")
    admit("anna")
    done(site, "ask", *handed)
    monkeypatch.setenv("CLIENT_ID", "berta")
    call(site, "ask", *handed, "--patience", "0")
    evil = Authority.make(here / "evil", "redis://127.0.0.1:1/0")
    client = evil.approve(Request.read(request_in(here / "requests", "berta")))
    evil.package(client).save(package_in(here / "packages", "berta"), evil.key)
    assert "it is from another orchestrator" in refused(site, "ask", *handed)


def test_an_operator_s_folder_that_is_there_is_kept_if_that_is_asked(here: Path) -> None:
    let_in()
    before = {path: path.read_bytes() for path in (here / "op").rglob("*") if path.is_file()}
    assert "is there already" in done(operator, "init", "op", "--host", NOWHERE, "--keep")
    assert {path: path.read_bytes() for path in before} == before


def test_an_older_package_isnt_accepted_again(here: Path) -> None:
    # Given a site whose enrolment was renewed
    let_in()
    done(site, "accept", "anna.package.json")
    package, own = Package.read(here / "anna.package.json"), Authority(here / "op").key
    package.model_copy(update={"until": package.until + timedelta(days=1)}).save(here / "new.json", own)
    done(site, "accept", "new.json")
    # When somebody has it accept the former package, then it is refused, and the newer one holds
    assert "it is older than the one that was accepted: it ends on" in refused(site, "accept", "anna.package.json")
    assert Enrolment(here / "state" / "enrolment").package.until == package.until + timedelta(days=1)
    # And one that was damaged is mended by the package that there is
    (here / "state" / "enrolment" / "package.json").write_text("{")
    fingerprint_of = fingerprint(own)
    done(site, "accept", "anna.package.json", "--fingerprint", fingerprint_of)


def test_a_question_that_nobody_answers_is_an_error(here: Path) -> None:
    done(site, "request", "--id", "anna")
    result = call(operator, "approve", "op", "anna.request.json")
    assert (result.exit_code, "--fingerprint F says what the site read out" in result.stderr) == (2, True)


def test_who_is_revoked_is_so_even_if_the_broker_cant_be_told(here: Path) -> None:
    # Given an operator's folder whose certificate is damaged, so that the broker can't be reached
    let_in()
    (here / "op" / "authority" / "authority.pem").write_text("damaged")
    # When a client is revoked, then both are said
    result = call(operator, "revoke", "op", "anna")
    assert result.exit_code == 0
    assert "anna was revoked: no answer of its counts any more" in result.stdout
    assert "the broker doesn't know yet (" in result.stderr
    assert "authority.pem" in result.stderr
    assert " revoked " in done(operator, "list", "op")


def test_accepting_writes_a_policy_once(here: Path) -> None:
    let_in()
    policy = here / "state" / "enrolment" / "policy.toml"
    assert f"what this site takes part in and tells is in {policy}" in done(site, "accept", "anna.package.json")
    policy.write_text("mine")
    assert str(policy) not in done(site, "accept", "anna.package.json")
    assert policy.read_text() == "mine"
