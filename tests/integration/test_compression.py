"""Compression between real processes: what a client owes survives its being killed."""

from __future__ import annotations

import re
from pathlib import Path

from redis import Redis

from tests.integration.harness import ROOT, Field, Program, checkpoint, history, part, url, wait_until

ROUNDS = 5
MODEL = {"MODEL_ELEMENTS": "2000"}


def start(field: Field, broker: Redis, run_dir: Path, compression: str) -> Program:
    return field.orchestrator(
        "--broker", url(broker), "--run-dir", str(run_dir), "--rounds", str(ROUNDS), "--compression", compression,
        "--clients", "2", "--no-evaluate-clients", **MODEL,
    )  # fmt: skip


def test_a_client_that_is_killed_and_started_again_still_owes_what_it_owed(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given a run of two clients that send the largest changes alone, without a disturbance
    whole, disturbed = tmp_path / "whole", tmp_path / "disturbed"
    clients = [field.client(broker, f"client-{number}", **part(number, 2), **MODEL) for number in (1, 2)]
    program = start(field, broker, whole, "topk:0.05")
    assert program.wait() == 0, program.output
    assert [each.wait() for each in clients] == [0, 0]
    assert {record["bytes_up"] < 0.1 * record["bytes_down"] for record in history(whole)} == {True}

    # When in another a client is killed while it trains the third round, and started again at once
    field.client(broker, "client-1", **part(1, 2), **MODEL)
    client = field.client(broker, "client-2", **part(2, 2), **MODEL, STEP_S="0.3", CLIENT_HEARTBEAT_S="10")
    program = start(field, broker, disturbed, "topk:0.05")
    wait_until(lambda: "round 3 opened" in program.output, "the third round is open")
    client.end()
    field.client(broker, "client-2", **part(2, 2), **MODEL, CLIENT_HEARTBEAT_S="10")

    # Then both end at the same model, to the last bit
    assert program.wait() == 0, program.output
    assert [record["answers"]["client-2"]["status"] for record in history(disturbed)] == ["trained"] * ROUNDS
    assert checkpoint(disturbed, ROUNDS) == checkpoint(whole, ROUNDS)


def test_a_compression_of_ones_own_is_for_clients_that_allow_it(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given the compressor of docs/compression.md, where the docs say; a client whose operator has named it, and another
    spec = "my_compression:half"
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "compression.md").read_text(), flags=re.DOTALL)
    (tmp_path / "my_compression.py").write_text(code)
    field.client(broker, "client-1", CLIENT_WORKLOAD="digits", CLIENT_COMPRESSION=spec, cwd=tmp_path)
    field.client(broker, "client-2", CLIENT_WORKLOAD="digits", cwd=tmp_path)

    # When a run asks for it
    program = field.orchestrator(
        "--broker", url(broker), "--compression", spec, "--rounds", "1", "--run-dir", str(tmp_path / "run"),
        workload="digits", cwd=tmp_path,
    )  # fmt: skip

    # Then the one trains, and the other says what is to be set
    assert program.wait() == 0, program.output
    answers = history(tmp_path / "run")[0]["answers"]
    assert answers["client-1"]["status"] == "trained"
    assert answers["client-2"]["status"] == "failed"
    assert f"set CLIENT_COMPRESSION={spec}" in answers["client-2"]["reason"]
