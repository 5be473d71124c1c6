"""The files on docs/operating.md are ones that supervisors read, with settings and options that there are."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.start import main
from tests.integration import harness
from worker.settings import ClientSettings

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
LONGEST_ORDER_S = 600


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def units() -> list[configparser.ConfigParser]:
    """A client's unit, an orchestrator's, and supervisor's program."""
    read = []
    for text in blocks("ini"):
        parser = configparser.ConfigParser(interpolation=None)
        parser.optionxform = str  # type: ignore[method-assign,assignment]  # names keep their case
        parser.read_string(text)
        read.append(parser)
    return read


@pytest.fixture(scope="module")
def manifests() -> list[dict[str, Any]]:
    """The clients' manifest, and the orchestrator's."""
    [text] = blocks("yaml")
    return list(yaml.safe_load_all(text))


def pod(manifest: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return spec


def test_a_client_has_longer_to_end_than_an_order_takes(
    units: list[configparser.ConfigParser], manifests: list[dict[str, Any]]
) -> None:
    # Given what each supervisor waits for a client, then that is longer than the orders that their run gives
    client, _, program = units
    waits = (
        client["Service"]["TimeoutStopSec"],
        program["program:fl-client"]["stopwaitsecs"],
        pod(manifests[0])["terminationGracePeriodSeconds"],
    )
    assert [int(each) > LONGEST_ORDER_S for each in waits] == [True] * 3
    assert set(re.findall(r"--timeout (\d+)", PAGE)) == {str(LONGEST_ORDER_S)}


def test_what_is_wrong_for_good_is_not_started_again(
    units: list[configparser.ConfigParser], manifests: list[dict[str, Any]]
) -> None:
    # Given exit code 2, then no supervisor starts the same again
    client, orchestrator, program = units
    assert [unit["Service"]["RestartPreventExitStatus"] for unit in (client, orchestrator)] == ["2", "2"]
    assert program["program:fl-client"]["exitcodes"] == "0,2"
    [rule] = manifests[1]["spec"]["podFailurePolicy"]["rules"]
    assert rule == {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [2]}}


def test_settings_and_options_are_known(manifests: list[dict[str, Any]]) -> None:
    # Given all variables and options on the page, then there are such
    variables = set(re.findall(r"\b((?:CLIENT|CELERY)_[A-Z_]+)\b", PAGE))
    assert variables <= set(ClientSettings.variables().values())
    [container] = pod(manifests[0])["containers"]
    assert {each["name"] for each in container["env"]} <= variables
    commands = re.findall(r"orchestrator\.start (.*?)(?:;|'|$)", PAGE, re.MULTILINE)
    used = {flag for command in commands for flag in re.findall(r"--[a-z-]+", command)}
    assert used
    assert used <= {flag for parameter in main.params for flag in parameter.opts}


def test_a_pod_is_ready_when_its_client_is_announced(manifests: list[dict[str, Any]]) -> None:
    # Given a broker by any URL that clients take, when the probe is run, then it says whether the client is there
    [container] = pod(manifests[0])["containers"]
    _, *words = container["readinessProbe"]["exec"]["command"]
    with harness.server() as server:
        environment = {"CELERY_BROKER_URL": harness.url(server.client), "CLIENT_ID": "anna", "PYTHONPATH": str(ROOT)}
        for code in (1, 0):
            probed = subprocess.run([sys.executable, *words], env=environment, capture_output=True, check=False)
            assert (probed.returncode, probed.stderr) == (code, b"")
            server.client.set("fl:client:anna", "{}")
