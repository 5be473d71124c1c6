"""What a program shows of its run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.federate.showing import is_terminal, is_watched, say, shown
from orchestrator.observers.events import ModelEvaluated, RunStarted
from orchestrator.store.run_folder import RunFolder
from tests.support import round_record, run_config


def test_a_terminal_shows_what_is_added_to_the_events_and_no_half_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a terminal, and a run that told something before it is shown
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert is_terminal()
    folder = RunFolder.create(tmp_path / "run", run_config(rounds=7))
    started: dict[str, Any] = {"folder": folder.path, "rounds_closed": 0, "workload": "digits", "algorithm": "fedavg"}
    folder.events.write_text(RunStarted(rounds=5, **started).model_dump_json() + "\n")
    # When more is told while it is shown, the last line of it not whole
    with shown(folder, is_live=True) as show, folder.events.open("a") as events:
        events.write(RunStarted(rounds=7, **started).model_dump_json() + "\n")
        events.write(ModelEvaluated(round_number=3, metrics={"auc": 0.25}).model_dump_json())
        events.flush()
        show()
        assert "0.25" not in capsys.readouterr().err
        events.write("\n")
    # Then all of that is shown, and nothing from before
    said = capsys.readouterr().err
    assert "7" in said
    assert "0.2500" in said
    assert "/5" not in said


def test_elsewhere_a_round_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert not is_watched()
    say(round_record(1, metrics={"loss": 0.5}))
    say(round_record(2, status="failed", reason="0 updates", metrics={}))
    assert capsys.readouterr().out == "round 1: loss 0.5000\nround 2: 0 updates\n"
