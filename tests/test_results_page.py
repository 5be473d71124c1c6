"""docs/results.md shows what the kept outcomes say, and rounds are counted as in the paper."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.evidence import DOCS, TABLES, kept
from benchmarks.trials import Outcome, Outcomes, Trial, load_outcomes, save_outcomes


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_the_page_has_the_tables_that_are_made_of_the_kept_outcomes(table: Callable[[Outcomes], str]) -> None:
    assert table(kept()) in DOCS.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ([0.5, 0.7, 0.9], 2.5),
        # What was lost again doesn't count: the line goes from the best so far, 0.7, up to 0.9.
        ([0.5, 0.7, 0.2, 0.9], 3.5),
        ([0.5, 0.8, 0.9], 2.0),
        ([0.8, 0.9], 1.0),
        ([0.5, 0.7], None),
        ([], None),
    ],
)
def test_rounds_are_counted_on_straight_lines_between_the_best_so_far(
    accuracies: list[float], expected: float | None
) -> None:
    assert Outcome(accuracies).rounds_to(0.8) == (None if expected is None else pytest.approx(expected))


def test_outcomes_are_read_as_they_were_written(tmp_path: Path) -> None:
    # Given a trial with settings and one as usual
    trial = Trial("fedadam", dataset="fashion-mnist", settings=(("server_learning_rate", 0.01), ("tau", 0.1)))
    outcomes = {trial: Outcome([0.1, 0.25], seconds=2.5), Trial(): Outcome([])}

    # When they are kept
    save_outcomes(outcomes, tmp_path / "outcomes.json")

    # Then they are what they were
    assert load_outcomes(tmp_path / "outcomes.json") == outcomes
