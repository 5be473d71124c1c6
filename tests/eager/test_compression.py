"""Every compression through the whole flow in Celery's eager mode: bytes, what is owed, resuming, rejection."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from celeriac.compressors import load_compressor
from celeriac.compressors.models import pack_model
from celeriac.compressors.updates import packed_spec
from celeriac.workloads.datasets.digits import Digits
from orchestrator.federate.in_memory import go_on
from orchestrator.store.run_folder import RunFolder
from tasks import arrays, auxiliary
from tasks.messages import Status, TrainOptions
from tests.eager.federation import EXAMPLES, Hostile, StoppedError, run_digits, stop_after, with_digits

NAMES = ["bf16", "int8", "topk:0.05", "tests.support:HalfPrecision"]
ROUNDS = 6


def run(path: Path, compression: str, workloads: Mapping[str, Digits] | None = None, **changes: Any) -> RunFolder:
    """Carry out a run."""
    usual = {"compression": compression, "rounds": ROUNDS, "options": TrainOptions(epochs=2)}
    return run_digits(path, workloads, **{**usual, **changes})


def kept_by(path: Path, client_id: str) -> list[str]:
    """Rounds of which the client has what its update lost."""
    folder = path / "clients" / client_id / "lost" / "run"
    return sorted(file.name.split("-")[2] for file in folder.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_nearly_as_well_and_the_history_has_the_bytes_that_travelled(tmp_path: Path, name: str) -> None:
    # Given a run as it is, and one that is compressed
    plain, folder = run(tmp_path / "plain", "none"), run(tmp_path / "compressed", name)
    before, history = plain.history(), folder.history()
    assert [record.status for record in history] == ["closed"] * ROUNDS

    # Then accuracies are alike
    assert history[-1].metrics["accuracy"] > before[-1].metrics["accuracy"] - 0.05

    # And bytes are those of what is sent: three models, three updates
    model = arrays.map_file(folder.checkpoint(0))
    compressor = load_compressor(name)
    assert compressor is not None
    down = arrays.encoded_size(arrays.spec_of(pack_model(compressor, model)))
    up = arrays.encoded_size(packed_spec(compressor, arrays.spec_of(model)))
    assert {(record.bytes_down, record.bytes_up) for record in history} == {(3 * down, 3 * up)}
    assert up < 0.55 * before[0].bytes_up / 3
    assert (down < 0.6 * before[0].bytes_down / 3) == compressor.also_models

    # And the checkpoints have full precision
    final = arrays.map_file(folder.checkpoint(ROUNDS))
    assert arrays.spec_of(final) == arrays.spec_of(model)
    assert any((values.view(np.uint32) & 0xFFFF).any() for values in final.values())


@pytest.mark.parametrize("name", ["int8", "topk"])
def test_one_seed_gives_one_result_and_clients_owe_what_their_last_update_lost(tmp_path: Path, name: str) -> None:
    # Given the same run twice
    one, two = run(tmp_path / "one", name), run(tmp_path / "two", name)
    # Then all models are equal to the last bit
    assert [record.digest for record in one.history()] == [record.digest for record in two.history()]
    # And every client keeps what it owes after its last update, and what it would owe if that weren't taken
    for client_id in EXAMPLES:
        assert kept_by(tmp_path / "one", client_id) == ["0005", "0006"]


@pytest.mark.parametrize("name", ["bf16", "int8", "topk:0.05"])
def test_a_run_that_was_interrupted_ends_where_an_undisturbed_one_does(tmp_path: Path, name: str) -> None:
    # Given a run, and another that stops after three rounds
    whole = run(tmp_path / "whole", name, algorithm="scaffold")
    path = tmp_path / "resumed"
    with pytest.raises(StoppedError):
        run(path, name, report=stop_after(3), algorithm="scaffold")

    # When it goes on, with clients that are started anew
    resumed = RunFolder.open(path / "run")
    go_on(resumed, with_digits(), path / "clients")

    # Then it ends at the same model, with the same state, to the last bit
    assert [record.digest for record in resumed.history()] == [record.digest for record in whole.history()]
    assert resumed.history()[-1].state_digest == whole.history()[-1].state_digest


@pytest.mark.parametrize("name", ["int8", "topk:0.05"])
def test_what_a_rejected_update_lost_is_never_owed(tmp_path: Path, name: str) -> None:
    # Given a client whose updates of rounds 2, 4 and 6 are no numbers
    folder = run(tmp_path, name, {"carl": Hostile()})
    statuses = [record.responses["carl"].status for record in folder.history()]
    assert statuses == [Status.TRAINED, Status.REJECTED] * 3
    # Then the run has learned, and the client's next update would go on from its fifth
    assert folder.history()[-1].metrics["accuracy"] > 0.8
    assert kept_by(tmp_path, "carl") == ["0005", "0006"]
    for client_id in ("anna", "bert"):
        [*_, last] = sorted((tmp_path / "clients" / client_id / "lost" / "run").iterdir())
        assert all(np.isfinite(values).all() for values in arrays.map_file(last).values())


@pytest.mark.parametrize("name", ["int8", "topk:0.05"])
@pytest.mark.parametrize("algorithm", ["scaffold", "feddyn", "mimelite", "fedadam", "fednova"])
def test_algorithms_with_state_and_sets_learn_too(tmp_path: Path, name: str, algorithm: str) -> None:
    # Given an algorithm that sends something along, both ways, or keeps something
    folder = run(tmp_path, name, algorithm=algorithm)
    # When it is run compressed, then it learns, and what clients keep of it is apart from what they owe
    history = folder.history()
    assert [record.status for record in history] == ["closed"] * ROUNDS
    assert history[-1].metrics["accuracy"] > (0.3 if algorithm == "mimelite" else 0.75)
    if algorithm in ("scaffold", "feddyn"):
        [*_, last] = sorted((tmp_path / "clients" / "anna" / "runs" / "run").iterdir())
        assert "lost" not in auxiliary.split(arrays.map_file(last))[1]


@pytest.mark.parametrize("name", ["bf16", "int8", "topk:0.05"])
def test_updates_are_judged_and_combined_as_they_come_out(tmp_path: Path, name: str) -> None:
    # Given a scorer and an aggregator that look at all of an update
    folder = run(tmp_path, name, verify=("norm",), threshold=("mad:50",), aggregator="geometric_median")
    # When a run is judged, then there is a score for each update, and it learns
    history = folder.history()
    assert all(set(response.scores) == {"norm"} for response in history[-1].responses.values())
    assert history[-1].metrics["accuracy"] > 0.75


def test_a_client_that_wasnt_in_the_last_round_owes_what_it_owed_before(tmp_path: Path) -> None:
    # Given rounds of one client of three
    folder = run(tmp_path, "topk:0.05", fraction=0.3, rounds=8)
    # When a client is chosen again, then what it owes is of its own last round, and it is what counts
    for client_id in EXAMPLES:
        took_part = [record.round_number for record in folder.history() if client_id in record.responses]
        assert kept_by(tmp_path, client_id) == [f"{number:04d}" for number in took_part[-2:]]
