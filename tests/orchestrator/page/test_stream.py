"""Who follows a screen is sent its sections, then those that have changed."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from starlette.requests import Request

from orchestrator.page import app, screens
from orchestrator.page.shelf import Shelf
from orchestrator.page.state import RunState
from tests.orchestrator.page.told import Told

BOUND_S = 30.0


def news(folder: Path) -> AsyncIterator[str]:
    """What is sent to who follows the first screen of a run."""
    shelf = Shelf(folder)
    page = app.Page(shelf, look_s=0.001)
    return page.news(lambda _: screens.overview(shelf, "run", {}), asked())


def asked() -> Request:
    return Request({"type": "http", "method": "GET", "headers": [], "query_string": b"", "path": "/runs/run"})


def read(page: app.Page, make: app.Make) -> str:
    """What is sent first to who follows a screen."""

    async def first() -> str:
        return await anext(page.news(make, asked()))

    return asyncio.run(first())


async def next_sections(stream: AsyncIterator[str]) -> dict[str, str]:
    """The sections of the next message; comments are passed over."""
    async for message in stream:
        if message.startswith("data: "):
            told: dict[str, Any] = json.loads(message.removeprefix("data: "))
            assert set(told["sections"]) <= set(told["order"])
            return dict(told["sections"])
    raise AssertionError("the stream has ended")


def test_all_sections_are_sent_then_those_that_have_changed(tmp_path: Path) -> None:
    async def follow() -> None:
        # Given a run with a closed round
        told = Told(tmp_path / "run", rounds=3)
        told.begin("anna")
        told.close(1, "anna", at_s=10)
        stream = news(tmp_path)
        # When somebody begins to follow it, then all is sent
        sections = await asyncio.wait_for(next_sections(stream), BOUND_S)
        assert list(sections) == ["head", "curves", "cohort", "rounds"]
        # And when another round is closed, what it changes
        told.close(2, "anna", at_s=20)
        seen: dict[str, str] = {}
        while "rounds/2" not in seen.get("rounds", ""):
            seen |= await asyncio.wait_for(next_sections(stream), BOUND_S)
        # And when nothing has changed for long, a comment
        comment = await asyncio.wait_for(anext(stream), BOUND_S)
        assert comment.startswith((":", "data: "))

    asyncio.run(follow())


def test_who_follows_a_run_is_told_that_it_was_removed(tmp_path: Path) -> None:
    async def follow() -> None:
        # Given a run that is followed
        told = Told(tmp_path / "run", rounds=3)
        told.begin("anna")
        stream = news(tmp_path)
        await asyncio.wait_for(next_sections(stream), BOUND_S)
        # When its folder is removed, then that is all that is shown
        shutil.rmtree(told.folder.path)
        sections: dict[str, str] = {}
        while "gone" not in sections:
            sections = await asyncio.wait_for(next_sections(stream), BOUND_S)
        assert sections.keys() == {"gone"}
        assert "There is no run run any more." in sections["gone"]

    asyncio.run(follow())


def test_nothing_more_is_sent_when_the_server_ends(tmp_path: Path) -> None:
    async def follow() -> None:
        is_over = threading.Event()
        page = app.Page(Shelf(tmp_path), look_s=BOUND_S, is_over=is_over.is_set)
        stream = page.news(lambda _: screens.runs(Shelf(tmp_path)), asked())
        assert await asyncio.wait_for(next_sections(stream), BOUND_S)
        is_over.set()
        assert [each async for each in stream] == []

    asyncio.run(follow())


def test_a_run_whose_folder_is_gone_is_followed_until_it_is_there_again(tmp_path: Path) -> None:
    async def follow() -> None:
        # Given a run that is followed
        told = Told(tmp_path / "run", rounds=3)
        told.begin("anna")
        stream = news(tmp_path)
        await asyncio.wait_for(next_sections(stream), BOUND_S)
        # When its config can't be read, then nothing is sent but comments; when it can be again, all is
        text = told.folder.config_path.read_text()
        told.folder.config_path.write_text("{")
        while (await asyncio.wait_for(anext(stream), BOUND_S)) != ":\n\n":
            pass
        told.folder.config_path.write_text(text)
        assert "head" in await asyncio.wait_for(next_sections(stream), BOUND_S)

    asyncio.run(follow())


def test_a_run_does_not_go_on_while_it_is_being_shown(tmp_path: Path) -> None:
    # Given a run, and a screen of it that takes long to show
    told = Told(tmp_path / "run", rounds=3)
    told.begin("anna")
    shelf = Shelf(tmp_path)
    page = app.Page(shelf)
    is_shown, may_go_on = threading.Event(), threading.Event()

    def names(state: RunState) -> Iterator[str]:
        for name in state.clients:
            yield name
            is_shown.set()
            may_go_on.wait(BOUND_S)

    def slow(_: Request) -> screens.Screen:
        run = shelf.run("run")
        assert run is not None
        run.refresh()
        return screens.Screen("slow", [screens.Section("logs", {"names": names(run.state), "chosen": ""})])

    shown: list[str] = []
    first = threading.Thread(target=lambda: shown.append(read(page, slow)))
    first.start()
    assert is_shown.wait(BOUND_S)
    # When a client joins, and somebody else looks meanwhile
    told.begin("bert")
    second = threading.Thread(target=lambda: shown.append(read(page, lambda _: screens.clients(shelf, "run", {}))))
    second.start()
    second.join(0.2)  # it waits
    may_go_on.set()
    first.join(BOUND_S)
    second.join(BOUND_S)
    # Then each is shown what there was at his look
    assert "anna" in shown[0]
    assert "bert" not in shown[0]
    assert "bert" in shown[1]


def test_who_is_sent_much_is_sent_it_less_often() -> None:
    assert app.pause_s(1.0, app.MANY_BYTES) == 1.0
    assert app.pause_s(1.0, app.MANY_BYTES + 1) == app.MAX_LOOK_S
