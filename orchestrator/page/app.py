"""The page's web application: each address answers a document, or to who follows it the sections as they change."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from urllib.parse import parse_qsl, quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from orchestrator.page import screens, text
from orchestrator.page.access import Guard
from orchestrator.page.control import MAX_FORM_BYTES, Control, RefusedError
from orchestrator.page.files import downloads_of
from orchestrator.page.follow import FollowedRun
from orchestrator.page.screens import NotFoundError, Screen, Section
from orchestrator.page.shelf import Shelf
from orchestrator.store.run_folder import RunFolder
from tasks.errors import FederationError
from tasks.readable import readable

LOOK_S = 1.0
"""Seconds between two looks at what is new."""
MAX_LOOK_S = 2.0
"""Seconds between two looks after much news, which a browser on the run's machine takes in at the run's cost."""
STEP_S = 0.2
"""Seconds within which a reader is let go when the server ends."""
MANY_BYTES = 50_000
"""Bytes of news that are much."""
MAX_SILENT = 15
"""Looks without news after which a comment goes out, so that a reader who is gone is noticed."""
_HERE = Path(__file__).parent
Make = Callable[[Request], Screen]


class Page:
    """Answers requests.

    Args:
        shelf: The runs.
        look_s: Seconds between two looks at what is new.
        control: What starts and stops runs; None: the page shows them alone.
        is_over: Says whether the server ends: then nobody is sent anything more.
    """

    def __init__(
        self,
        shelf: Shelf,
        look_s: float = LOOK_S,
        control: Control | None = None,
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        self._shelf = shelf
        self._is_over = is_over
        self._control = control
        self._look_s = look_s
        self._lock = threading.Lock()
        """Held while somebody looks: another look would change what is being shown."""
        self._templates = Environment(
            loader=PackageLoader("orchestrator.page"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(text.FILTERS)
        self._templates.globals["has_control"] = control is not None

    def routes(self) -> list[BaseRoute]:
        """Return what is answered at which address."""
        shelf = self._shelf
        made: dict[str, Make] = {
            "/": lambda _: screens.runs(shelf),
            "/compare": lambda asked: screens.compare(shelf, asked.query_params.getlist("run")),
            "/runs/{run}": lambda asked: screens.overview(shelf, _run(asked), asked.query_params),
            "/runs/{run}/rounds/{number:int}": lambda asked: screens.one_round(
                shelf, _run(asked), asked.path_params["number"], asked.query_params
            ),
            "/runs/{run}/clients": lambda asked: screens.clients(shelf, _run(asked), asked.query_params),
            "/runs/{run}/logs": lambda asked: screens.logs(shelf, _run(asked), asked.query_params),
            "/runs/{run}/settings": lambda asked: screens.settings(shelf, _run(asked)),
            "/runs/{run}/files": lambda asked: screens.files(shelf, _run(asked)),
        }
        return [
            *(Route(path, self._endpoint(make), methods=["GET"]) for path, make in made.items()),
            Route("/runs/{run}/files/{name}", self._file, methods=["GET"]),
            *self._control_routes(),
            Mount("/static", StaticFiles(directory=_HERE / "static")),
        ]

    def _control_routes(self) -> list[BaseRoute]:
        if self._control is None:
            return []
        control = self._control
        return [
            Route("/new", self._endpoint(lambda _: _form(control, {})), methods=["GET"]),
            Route("/new", self._start(control), methods=["POST"]),
            Route("/runs/{run}/stop", self._do(lambda folder, _: control.stop(folder)), methods=["POST"]),
            Route("/runs/{run}/resume", self._do(_resuming(control)), methods=["POST"]),
        ]

    def _start(self, control: Control) -> Callable[[Request], object]:
        async def answer(request: Request) -> Response:
            given = await _entered(request)
            try:
                name = await run_in_threadpool(control.start, given)
            except RefusedError as error:
                form = _form(control, given, error)
                return HTMLResponse(self._written(form, self.rendered(form)), 422)
            return RedirectResponse(_address(name), 303)

        return answer

    def _do(self, what: Callable[[RunFolder, Mapping[str, str]], None]) -> Callable[[Request], object]:
        async def answer(request: Request) -> Response:
            given = await _entered(request)
            run = await run_in_threadpool(self._found, _run(request))
            await run_in_threadpool(what, run.folder, given)
            return RedirectResponse(_address(_run(request)), 303)

        return answer

    def rendered(self, screen: Screen) -> dict[str, str]:
        """Return a screen's sections as HTML, by their ids."""
        return {
            section.name: self._templates.get_template(f"{section.name}.html").render(section.values)
            for section in screen.sections
        }

    def _endpoint(self, make: Make) -> Callable[[Request], object]:
        async def answer(request: Request) -> Response:
            if "text/event-stream" in request.headers.get("accept", ""):
                await run_in_threadpool(self._look, make, request)  # a refusal comes before the stream
                return StreamingResponse(self.news(make, request), media_type="text/event-stream")
            return HTMLResponse(await run_in_threadpool(self._document, make, request))

        return answer

    def _document(self, make: Make, request: Request) -> str:
        return self._written(*self._look(make, request))

    def _look(self, make: Make, request: Request) -> tuple[Screen, dict[str, str]]:
        with self._lock:
            screen = make(request)
            return screen, self.rendered(screen)

    def _written(self, screen: Screen, sections: Mapping[str, str]) -> str:
        return self._templates.get_template("page.html").render(screen=screen, sections=sections)

    async def news(self, make: Make, request: Request) -> AsyncIterator[str]:
        """Yield the sections of a screen, then those that have changed, until the reader is gone or the server ends."""
        sent: dict[str, str] = {}
        silent = 0
        while not self._is_over():
            sections = await run_in_threadpool(self._sections, make, request)
            news = {name: html for name, html in sections.items() if sent.get(name) != html}
            silent = 0 if news else silent + 1
            if news:
                yield f"data: {json.dumps({'order': list(sections), 'sections': news})}\n\n"
            elif silent % MAX_SILENT == 0:
                yield ":\n\n"
            sent = sections
            await self._pause(pause_s(self._look_s, sum(map(len, news.values()))))

    async def _pause(self, seconds: float) -> None:
        while seconds > 0 and not self._is_over():
            await asyncio.sleep(min(seconds, STEP_S))
            seconds -= STEP_S

    def _sections(self, make: Make, request: Request) -> dict[str, str]:
        try:
            return self._look(make, request)[1]
        except NotFoundError as error:
            return {"gone": self._templates.get_template("gone.html").render(message=str(error))}
        except (FederationError, OSError):
            return {}  # its folder is being written, or removed

    async def _file(self, request: Request) -> Response:
        return await run_in_threadpool(self._download, _run(request), request.path_params["name"])

    def _download(self, run: str, name: str) -> Response:
        found = self._found(run)
        downloads = downloads_of(found.folder, found.state.num_closed, screens.best_round_of(found.state))
        if name not in downloads:
            raise NotFoundError(f"run {run} has no file {name} to take along")
        told = {"content-length": str(downloads[name].size_bytes)}
        if name.endswith(".png"):
            return StreamingResponse(downloads[name].parts(), media_type="image/png", headers=told)
        told["content-disposition"] = f"attachment; filename*=utf-8''{quote(f'{run}-{name}', safe='')}"
        return StreamingResponse(downloads[name].parts(), media_type="application/octet-stream", headers=told)

    def _found(self, name: str) -> FollowedRun:
        with self._lock:
            found = self._shelf.run(name)
            if found is None:
                raise NotFoundError(f"there is no run {name}")
            found.refresh()
            return found

    async def refuse(self, request: Request, error: Exception) -> Response:
        """Answer that there is no such thing, that it can't be done, or that a run's files can't be read."""
        code, title = 500, "It can't be shown"
        if isinstance(error, NotFoundError):
            code, title = 404, "Not found"
        elif request.method == "POST":
            code, title = 422, "It can't be done"
        told = self._templates.get_template("refusal.html").render(title=title, message=readable(str(error)))
        return HTMLResponse(told, code)


def pause_s(look_s: float, num_bytes: int) -> float:
    """Return the seconds until the next look, after so many bytes of news."""
    return max(look_s, MAX_LOOK_S) if num_bytes > MANY_BYTES else look_s


def make_app(
    shelf: Shelf,
    token: str | None = None,
    *,
    is_secure: bool = False,
    look_s: float = LOOK_S,
    control: Control | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> Starlette:
    """Return the application.

    Args:
        shelf: The runs that it shows.
        token: What a reader needs; None: nothing.
        is_secure: Whether it is spoken over TLS.
        look_s: Seconds between two looks at what is new.
        control: What starts and stops runs; None: the page shows them alone.
        is_over: Says whether the server ends.
    """
    page = Page(shelf, look_s, control, is_over)
    return Starlette(
        routes=page.routes(),
        middleware=[Middleware(Guard, token=token, is_secure=is_secure)],
        exception_handlers=dict.fromkeys((NotFoundError, FederationError, OSError), page.refuse),
    )


def _form(control: Control, given: Mapping[str, str], error: RefusedError | None = None) -> Screen:
    values = {
        "fields": control.fields(),
        "given": given,
        "error": str(error or ""),
        "wrong": error.flag if error else "",
    }
    return Screen("New run", [Section("new", values)], is_still=True)


def _resuming(control: Control) -> Callable[[RunFolder, Mapping[str, str]], None]:
    return lambda folder, given: control.resume(folder, given.get("--broker", "").strip())


async def _entered(request: Request) -> dict[str, str]:
    """Return what a form says.

    Raises:
        RefusedError: If it is longer than any form.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_FORM_BYTES:
            raise RefusedError(f"the form has more than {MAX_FORM_BYTES} bytes")
    return dict(parse_qsl(body.decode(errors="replace")))


def _address(run: str) -> str:
    return f"/runs/{quote(run, safe='')}"


def _run(request: Request) -> str:
    return str(request.path_params["run"])
