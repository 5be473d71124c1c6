"""Who follows a screen is sent its sections, then those that have changed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.requests import Request

from orchestrator.page import app, screens
from orchestrator.page.shelf import Shelf
from tests.orchestrator.page.told import Told

BOUND_S = 30.0


def news(folder: Path) -> AsyncIterator[str]:
    """What is sent to who follows the first screen of a run."""
    shelf = Shelf(folder)
    page = app.Page(shelf, look_s=0.001)
    request = Request({"type": "http", "method": "GET", "headers": [], "query_string": b"", "path": "/runs/run"})
    return page.news(lambda _: screens.overview(shelf, "run", {}), request)


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
