from __future__ import annotations

from pathlib import Path

import click
import pytest

from benchmarks.pasting import paste_into

ROOT = Path(__file__).parents[2]
PAGE = "before\n<!-- one: begin -->\nold\n<!-- one: end -->\nbetween\n<!-- two: begin -->\n<!-- two: end -->\nafter\n"


def test_text_is_put_between_the_markers_of_its_name(tmp_path: Path) -> None:
    # Given a page with two places
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    # When both are filled
    paste_into(page, {"one": "first", "two": "second"})
    # Then they have the new text, and all around is as it was
    filled = PAGE.replace("old", "first").replace("two: begin -->\n", "two: begin -->\nsecond\n")
    assert page.read_text() == filled


def test_a_page_without_the_markers_stays_as_it_was(tmp_path: Path) -> None:
    # Given a page that lacks one of two places
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    # When both are to be filled, then the error names the page and the markers
    with pytest.raises(click.ClickException, match=r"page\.md has no lines <!-- three: begin -->"):
        paste_into(page, {"one": "first", "three": "third"})
    # And nothing has changed
    assert page.read_text() == PAGE


@pytest.mark.parametrize("name", ["machine", "cases", "processors"])
def test_the_page_on_performance_has_its_places(name: str) -> None:
    # Given the page, when its markers are looked for, then there is one pair of each
    page = (ROOT / "docs" / "performance.md").read_text()
    assert page.count(f"<!-- {name}: begin -->") == page.count(f"<!-- {name}: end -->") == 1
