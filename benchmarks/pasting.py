"""Markdown tables, and putting them into pages of the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import click


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    return "\n".join([lines[0], f"|{'---|' * len(header)}", *lines[1:]])


def paste_into(path: Path, texts: Mapping[str, str]) -> None:
    """Put each text between the markers of its name, in the page at ``path``.

    Raises:
        ClickException: If the page lacks some of them; then it stays as it was.
    """
    page = path.read_text(encoding="utf-8")
    for name, text in texts.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, _, rest = page.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise click.ClickException(f"{path} has no lines {begin} and {end}")
        page = f"{before}{begin}\n{text}\n{end}{after}"
    path.write_text(page, encoding="utf-8")
