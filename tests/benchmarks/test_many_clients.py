"""What is told of connected clients, from figures that are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import many_clients
from benchmarks.many_clients import Spent, Turn, idle_table, rounds_table
from benchmarks.pasting import paste_into


def turn(rounds_s: list[float], cpu_s: float, connections: int) -> Turn:
    in_rounds = Spent(10.0, {"loop process": cpu_s, "broker": 2 * cpu_s}, 5_000, 1_000_000)
    return Turn(rounds_s, in_rounds, Spent(5.0, {"broker": 0.2}, 20_000, 1_500_000), connections)


def test_the_median_of_all_rounds_is_told_and_how_much_more_it_is_than_the_least(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given two turns of two rounds each, and one with more clients
    monkeypatch.setattr(many_clients, "ROUNDS", 1)
    found = {100: [turn([0.4, 0.5], 0.2, 102), turn([0.6, 0.7], 0.4, 102)], 2000: [turn([0.66, 0.66], 0.4, 2002)]}
    # When they are told, then as medians of all, and as milliseconds a round
    assert rounds_table(found).splitlines()[2:] == [
        "| 100 | **0.550** | 1.00 | 150 | 300 | 0 | 0 |",
        "| 2,000 | **0.660** | 1.20 | 200 | 400 | 0 | 0 |",
    ]
    # And what the broker took while it was idle, as so much a second
    assert idle_table(found).splitlines()[2:] == [
        "| 100 | 102 | 4,000 | 300 | 4.0 % |",
        "| 2,000 | 2,002 | 4,000 | 300 | 4.0 % |",
    ]


def test_the_page_has_room_for_the_tables(tmp_path: Path) -> None:
    # Given a copy of the page, when tables are written into it, then they are there
    copy = tmp_path / "scaling.md"
    copy.write_text(many_clients.DOCS.read_text(encoding="utf-8"), encoding="utf-8")
    paste_into(copy, {"many-rounds": "of rounds", "many-idle": "of none"})
    assert "of rounds" in copy.read_text(encoding="utf-8")
