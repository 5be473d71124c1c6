"""The tables of docs that say what can be set are those of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.option_tables import tables


@pytest.mark.parametrize(("page", "texts"), tables().items(), ids=lambda value: getattr(value, "name", ""))
def test_a_page_has_the_tables_of_the_code(page: Path, texts: dict[str, str]) -> None:
    # Given a page, when its tables are made anew, then nothing changes: else run python -m scripts.option_tables
    written = page.read_text(encoding="utf-8")
    for name, text in texts.items():
        assert f"<!-- {name}: begin -->\n{text}\n<!-- {name}: end -->" in written
