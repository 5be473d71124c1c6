"""The page is served where it says it is, and ends when it should."""

from __future__ import annotations

import re
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from tests.orchestrator.page.told import Told

BOUND_S = 60.0


@contextmanager
def served(*arguments: str | Path, told: int | None = None) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server, and the address that it says it is at; it ends with the block, as its input does."""
    command = [sys.executable, "-m", "orchestrator.page", "--port", "0", "--until-eof", *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=told, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            found = re.search(r"https?://\S+", process.stdout.readline())
            assert found is not None
            yield found[0], process
        finally:
            process.stdin.close()
            process.wait(BOUND_S)


@pytest.mark.usefixtures("counted")
def test_it_says_where_it_is_shows_runs_and_ends_with_its_input(tmp_path: Path) -> None:
    # Given a run, when the page is served, then it is at the address that is said
    Told(tmp_path / "a-run", rounds=1).begin("anna")
    with served(tmp_path) as (address, process), urllib.request.urlopen(address, timeout=BOUND_S) as answer:
        assert "a-run" in answer.read().decode()
    # And it ends well when its input does
    assert process.returncode == 0


@pytest.mark.usefixtures("counted")
def test_it_is_ended_by_ctrl_c_without_a_word_while_somebody_follows_a_run(tmp_path: Path) -> None:
    # Given a screen that somebody follows
    Told(tmp_path / "a-run", rounds=1).begin("anna")
    with served(tmp_path, told=subprocess.PIPE) as (address, process):
        asked = urllib.request.Request(f"{address}runs/a-run", headers={"accept": "text/event-stream"})
        with urllib.request.urlopen(asked, timeout=BOUND_S) as answer:
            assert answer.readline().startswith(b"data: ")
            # When the page is interrupted, then the stream ends, and nothing is said
            process.send_signal(signal.SIGINT)
            answer.read()
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.usefixtures("counted")
def test_over_tls_and_with_a_token(tmp_path: Path) -> None:
    # Given a certificate
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "certificate.pem"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    options: list[str | Path] = ["--certificate", tmp_path / "certificate.pem", "--key", tmp_path / "key.pem"]
    # When the page is served with it and a token that is made
    with served(tmp_path, "--token-file", tmp_path / "token", *options) as (address, _):
        # Then who has the token may look
        assert address.startswith("https://")
        token = (tmp_path / "token").read_text().strip()
        asked = urllib.request.Request(address.split("?")[0], headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(asked, timeout=BOUND_S, context=context) as answer:
            assert "Runs" in answer.read().decode()
        with pytest.raises(urllib.error.HTTPError, match="401") as refused:
            urllib.request.urlopen(address.split("?")[0], timeout=BOUND_S, context=context)
        refused.value.close()


@pytest.mark.usefixtures("counted")
def test_an_address_that_is_taken_is_said(tmp_path: Path) -> None:
    with served(tmp_path) as (address, _):
        command = [sys.executable, "-m", "orchestrator.page", str(tmp_path), "--port", address.split(":")[2].strip("/")]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=BOUND_S)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Address already in use" in done.stderr
