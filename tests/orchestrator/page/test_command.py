"""What the command refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator.page.__main__ import main
from tests.orchestrator.page.told import Told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "there is no such folder"),
        (["--host", "0.0.0.0"], "--token-file FILE is needed"),
        (["--certificate", "c.pem"], "--certificate and --key are given together"),
        (["--certificate", "c.pem", "--key", "k.pem"], "c.pem"),
        (["--port", "70000"], "70000"),
        (["--control"], "--token-file FILE is needed"),
        (["run", "--control", "--token-file", "token"], "run is one run's folder"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Told(Path("run"))
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert told in result.output
    assert "Traceback" not in result.output
