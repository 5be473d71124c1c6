"""The embedded server, wherever temporary files are."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from orchestrator.processes.processes import Processes
from orchestrator.processes.server import new_authority, start_server
from tasks.broker.connection import connect


@pytest.mark.parametrize("name", ["a b", "a#b", "a?b", "a%41b", "a@b"])
def test_a_temporary_folder_may_have_any_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # a socket's name has 107 bytes at most
        folder = Path(short) / name
        folder.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        with Processes() as processes:
            url = start_server(processes, tmp_path / "server.log", new_authority(processes))
            with connect(url, retries=0) as redis:
                assert redis.ping()
