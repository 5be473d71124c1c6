"""Who may look: a token where one is asked for, and on this machine alone nobody who only says that he is here."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tasks.errors import ConfigurationError
from tasks.files import private
from tasks.trust.keys import check_private

MIN_TOKEN = 16
"""Characters that a token has at the least."""
_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
_POLICY += "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def is_loopback(host: str) -> bool:
    """Say whether an address is one that only this machine reaches."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def token_in(path: Path) -> str:
    """Return the token in a file; if there is no such file, it is made, with a new one, for its owner alone.

    Raises:
        ConfigurationError: If it can't be read or made, others may read it, or the token is too short.
    """
    try:
        if not path.exists():
            with open(path, "x", encoding="ascii", opener=private) as file:
                file.write(f"{secrets.token_urlsafe(32)}\n")
        check_private(path)
        token = path.read_text(encoding="ascii").strip()
    except ConfigurationError as error:
        raise ConfigurationError(f"--token-file {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--token-file {path}: {error}") from None
    if len(token) < MIN_TOKEN:
        raise ConfigurationError(f"--token-file {path}: the token has {len(token)} characters, {MIN_TOKEN} are needed")
    return token


class Guard:
    """Lets requests through, or says why not.

    With a token: who has it, as ``?token=…``, as a bearer's token, or by the cookie that the former leaves. Without
    one: who names this machine as the host, so that no other site's script gets here by a name of its own.

    Args:
        app: What answers those that are let through.
        token: The token; None: nobody needs one.
        is_secure: Whether it is spoken over TLS.
    """

    def __init__(self, app: ASGIApp, token: str | None, *, is_secure: bool) -> None:
        self._app = app
        self._token = token
        self._is_secure = is_secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message["headers"], *given]
            await send(message)

        refused = self._refusal(scope)
        await (refused or self._app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        request = Request(scope)
        headers = request.headers
        if request.method not in ("GET", "HEAD") and not _is_own(headers):
            return PlainTextResponse("A form of another site's may do nothing here.\n", 403)
        if self._token is None:
            if is_loopback(_host_of(headers)):
                return None
            return PlainTextResponse("This page answers to localhost and addresses like 127.0.0.1 alone.\n", 421)
        if self._is_known(request, self._token):
            return None
        if _same(request.query_params.get("token", ""), self._token):
            return self._let_in(request, self._token)
        return PlainTextResponse("This page asks for a token: open it as …/?token=TOKEN\n", 401)

    def _is_known(self, request: Request, token: str) -> bool:
        kind, _, said = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and _same(said, token):
            return True
        return _same(request.cookies.get(_cookie_name(request.headers), ""), _cookie_value(token))

    def _let_in(self, request: Request, token: str) -> Response:
        """Leave the cookie, and have the browser ask again without the token, which nobody is to read in an address."""
        path = f"/{quote(request.scope['path'].lstrip('/'))}"  # with two slashes another host would be asked
        rest = urlencode([(name, value) for name, value in request.query_params.multi_items() if name != "token"])
        answer = RedirectResponse(f"{path}?{rest}" if rest else path, 303)
        name = _cookie_name(request.headers)
        answer.set_cookie(name, _cookie_value(token), httponly=True, samesite="strict", secure=self._is_secure)
        return answer


def _is_own(headers: Headers) -> bool:
    """Say whether what is sent comes from this page's own form."""
    try:
        return urlsplit(headers.get("origin", "")).netloc == headers.get("host")
    except ValueError:
        return False


def _host_of(headers: Headers) -> str:
    try:
        return urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _cookie_name(headers: Headers) -> str:
    """Return a name of its own for each port: browsers don't tell the cookies of a host's ports apart."""
    _, _, port = headers.get("host", "").rpartition(":")
    return f"celeriac-page-{port if port.isascii() and port.isdigit() else 0}"


def _cookie_value(token: str) -> str:
    return hmac.new(token.encode(), b"cookie of the page", hashlib.sha256).hexdigest()


def _same(said: str, token: str) -> bool:
    return hmac.compare_digest(said.encode(), token.encode())
