"""Who may look."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from orchestrator.page.access import is_loopback, token_in
from orchestrator.page.app import make_app
from orchestrator.page.shelf import Shelf
from tasks.errors import ConfigurationError

TOKEN = "a-token-of-twenty-four-c"


def browser(folder: Path, token: str | None = None, host: str = "localhost:8600", *, tls: bool = False) -> TestClient:
    app = make_app(Shelf(folder), token, is_secure=tls)
    return TestClient(app, base_url=f"http{'s' if tls else ''}://{host}", follow_redirects=False)


@pytest.mark.parametrize("host", ["localhost:8600", "127.0.0.1", "127.8.9.1:80", "[::1]:1", "LOCALHOST"])
def test_without_a_token_this_machine_may_look(tmp_path: Path, host: str) -> None:
    assert browser(tmp_path).get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "evil.example:8600", "[", ""])
def test_a_site_that_has_its_name_mean_this_machine_may_not(tmp_path: Path, host: str) -> None:
    assert browser(tmp_path).get("/", headers={"host": host}).status_code == 421


def test_a_token_is_asked_for_once(tmp_path: Path) -> None:
    # Given a page with a token
    web = browser(tmp_path, TOKEN, "fl.example:8600")
    assert web.get("/").status_code == 401
    assert web.get("/static/page.css").status_code == 401
    assert web.get("/?token=another").status_code == 401
    # When somebody comes with it, then a cookie is left, and the address is without it
    answer = web.get(f"/?token={TOKEN}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert TOKEN not in cookie
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie
    # And then nobody is asked again, by this server or by another one with the same token
    assert web.get("/").status_code == 200
    again = browser(tmp_path, TOKEN, "fl.example:8600")
    assert again.get("/", headers={"cookie": cookie.split(";")[0]}).status_code == 200
    assert again.get("/", headers={"cookie": "celeriac-page-8600=forged"}).status_code == 401


@pytest.mark.parametrize("others", ["a/b=c", "a,b=c", "[=]", "=; ;", '"'])
def test_cookies_of_other_programs_do_not_matter(tmp_path: Path, others: str) -> None:
    # Given a browser that has been let in
    web = browser(tmp_path, TOKEN, "fl.example:8600")
    cookie = web.get(f"/?token={TOKEN}").headers["set-cookie"].split(";")[0]
    web.cookies.clear()
    # When it sends cookies, too, that something else on this host has left, then it is still let in
    for sent in (f"{others}; {cookie}", f"{cookie}; {others}"):
        assert web.get("/", headers={"cookie": sent}).status_code == 200
    assert web.get("/", headers={"cookie": others}).status_code == 401


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        (f"/compare?run=a&token={TOKEN}&run=b", "/compare?run=a&run=b"),
        (f"/runs/a%3Fb?token={TOKEN}", "/runs/a%3Fb"),
        (f"//evil.example/x?token={TOKEN}", "/evil.example/x"),
    ],
)
def test_who_is_let_in_gets_what_he_asked_for(tmp_path: Path, asked: str, path: str) -> None:
    web = browser(tmp_path, TOKEN, "fl.example:8600")
    assert web.get(f"http://fl.example:8600{asked}").headers["location"] == path


@pytest.mark.parametrize("origin", ["http://[", "null", "http://evil.example:8600", "http://fl.example", ""])
def test_a_form_of_another_sites_is_refused(tmp_path: Path, origin: str) -> None:
    web = browser(tmp_path, TOKEN, "fl.example:8600")
    headers = {"origin": origin, "authorization": f"Bearer {TOKEN}"}
    assert web.post("/", headers=headers).status_code == 403
    assert web.post("/", headers=headers | {"origin": "http://fl.example:8600"}).status_code == 405


def test_over_tls_the_cookie_is_for_tls_alone(tmp_path: Path) -> None:
    cookie = browser(tmp_path, TOKEN, "fl.example", tls=True).get(f"/?token={TOKEN}").headers["set-cookie"]
    assert "Secure" in cookie


def test_a_program_says_the_token_as_a_bearer(tmp_path: Path) -> None:
    web = browser(tmp_path, TOKEN)
    assert web.get("/", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert web.get("/", headers={b"authorization": "Bearer né".encode()}).status_code == 401


def test_a_token_is_made_where_there_is_none_for_its_owner_alone(tmp_path: Path) -> None:
    # Given no file, when the token is asked for, then it is made, and the same one is read the next time
    path = tmp_path / "token"
    token = token_in(path)
    assert len(token) >= 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert token_in(path) == token


@pytest.mark.parametrize("text", ["short", "", "ü" * 20])
def test_a_poor_token_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "token"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="--token-file"):
        token_in(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_token_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=rf"--token-file .*token: .*mode {mode:04o}.*chmod 600"):
        token_in(path)


def test_loopback_is_told_from_other_addresses() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.8.9.1", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "fl.example", "")))
