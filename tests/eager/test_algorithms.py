"""Every algorithm through the whole flow in Celery's eager mode: state, control variates, resuming, rejection."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from celeriac.algorithms import ALGORITHMS, LocalResult
from celeriac.workloads.datasets.digits import Digits
from orchestrator.federate.in_memory import InMemory, go_on
from orchestrator.observers.events import Event, RoundClosed
from orchestrator.store.run_folder import RunFolder
from tasks import arrays, auxiliary
from tasks.blobs.chunks import MemoryChunks
from tasks.messages import Status, TrainOptions
from tasks.names import update_name
from tasks.orders.train import TrainOrder
from tasks.workload import Workload
from tests.eager.federation import EXAMPLES, Federation, Hostile, StoppedError, run_digits, stop_after, with_digits
from worker.local_training import train_locally

NAMES = sorted(ALGORITHMS)
HAVE_STATE = {"fedadagrad", "fedadam", "fedavgm", "feddyn", "fedyogi", "mime", "mimelite", "scaffold"}
KEEP_AT_CLIENTS = {"feddyn", "scaffold"}
ROUNDS = 4


def run(path: Path, algorithm: str, workloads: Mapping[str, Digits] | None = None, **changes: Any) -> RunFolder:
    """Carry out a run."""
    usual = {"algorithm": algorithm, "rounds": ROUNDS, "options": TrainOptions(epochs=1)}
    return run_digits(path, workloads, **{**usual, **changes})


def altered(monkeypatch: pytest.MonkeyPatch, alter: Callable[[LocalResult], LocalResult]) -> dict[str, Digits]:
    """The workload of a client who alters the result of its training."""
    own = Digits()

    def train(workload: Digits, *rest: Any) -> LocalResult:
        result = train_locally(workload, *rest)
        return alter(result) if workload is own else result

    monkeypatch.setattr("worker.handlers.train.train_locally", train)
    return {"carl": own}


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_and_a_run_that_was_interrupted_ends_where_an_undisturbed_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # Given a run without a disturbance
    chunks = MemoryChunks()
    monkeypatch.setattr("orchestrator.federate.in_memory.InMemory", partial(InMemory, chunks=chunks))
    whole = run(tmp_path / "one", name)

    # Then the model has become better, and nothing is left of what was sent
    history = whole.history()
    assert [record.status for record in history] == ["closed"] * ROUNDS
    assert history[-1].metrics["accuracy"] > max(0.3, history[0].metrics["accuracy"] - 0.05)
    assert not chunks.chunks

    # And the state is beside the checkpoint, of its names
    assert whole.state(ROUNDS).exists() == bool(history[-1].state_digest) == (name in HAVE_STATE)

    # When another stops after two rounds, and orchestrator and clients are started again
    with pytest.raises(StoppedError):
        run(tmp_path / "two", name, report=stop_after(2))
    folder = RunFolder.open(tmp_path / "two" / "run")
    go_on(folder, with_digits(), tmp_path / "two" / "clients")

    # Then it ends at the same model, with the same state, to the last bit
    assert folder.checkpoint(ROUNDS).read_bytes() == whole.checkpoint(ROUNDS).read_bytes()
    assert folder.history()[-1].state_digest == history[-1].state_digest
    folder.check_checkpoint()


@pytest.mark.parametrize("name", sorted(KEEP_AT_CLIENTS))
def test_what_a_client_keeps_is_that_of_its_last_accepted_update(tmp_path: Path, name: str) -> None:
    # Given a client whose updates of rounds 2 and 4 are no numbers
    folder = run(tmp_path, name, {"carl": Hostile()})
    statuses = [record.responses["carl"].status for record in folder.history()]
    assert statuses == [Status.TRAINED, Status.REJECTED, Status.TRAINED, Status.REJECTED]

    # Then it has what round 3 made of what it had after round 1, and that of round 4, which the next order would drop
    kept = sorted(path.name.split("-")[2] for path in (tmp_path / "clients" / "carl" / "runs" / "run").iterdir())
    assert kept == ["0003", "0004"]
    third = update_name(3, folder.history()[2].responses["carl"].digest)
    assert auxiliary.split(
        arrays.map_file(tmp_path / "clients" / "carl" / "runs" / "run" / f"after-round-{third}.safetensors")
    )[1]

    # And nothing of the rejected updates is in the orchestrator's state
    state = arrays.map_file(folder.state(ROUNDS))
    assert all(np.isfinite(values).all() for values in state.values())


@pytest.mark.parametrize("name", sorted(KEEP_AT_CLIENTS))
def test_that_a_client_has_lost_what_it_kept_is_in_the_record(tmp_path: Path, name: str) -> None:
    # Given a client that loses what it keeps after the second round
    def lose(event: Event) -> None:
        if isinstance(event, RoundClosed) and event.round_number == 2:
            shutil.rmtree(tmp_path / "clients" / "carl" / "runs")

    # When the run goes on, then its update of the third round counts, and the record says that it began anew
    history = run(tmp_path, name, report=lose).history()
    reasons = [{client_id: response.reason for client_id, response in record.responses.items()} for record in history]
    none = dict.fromkeys(EXAMPLES, "")
    gone = "what it kept with its last accepted update was gone: it began anew"
    assert reasons == [none, none, {**none, "carl": gone}, none]
    assert history[2].responses["carl"].status is Status.TRAINED


class WithMomentum(Digits):
    """Takes its steps by another optimiser than some algorithms are meant for."""

    momentum = 0.9


@pytest.mark.parametrize("name", ["scaffold", "mime", "mimelite"])
def test_an_optimiser_that_an_algorithm_isnt_meant_for_is_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    # Given a client whose optimiser has momentum, when a run is carried out
    history = run(tmp_path, name, {"bert": WithMomentum()}).history()
    # Then its update doesn't count, and the reason says why and what is allowed
    told = (
        f"ConfigurationError: the formulas of {name} are those of plain SGD at --learning-rate, and the workload's "
        "optimiser is SGD with momentum=0.9: allowed is plain SGD, or another algorithm, like fedavg or fedadam"
    )
    assert [record.responses["bert"].reason for record in history] == [told] * ROUNDS
    assert {record.responses["anna"].status for record in history} == {Status.TRAINED}


def test_fedavg_takes_any_optimiser(tmp_path: Path) -> None:
    # Given a client whose optimiser has momentum, when a run is carried out by FedAvg, then its updates count
    history = run(tmp_path, "fedavg", {"bert": WithMomentum()}).history()
    assert {record.responses["bert"].status for record in history} == {Status.TRAINED}


@pytest.mark.parametrize("compression", ["none", "bf16", "int8"])
def test_scaffolds_common_variate_is_the_sum_of_the_clients_whatever_compression_takes_away(
    tmp_path: Path, compression: str
) -> None:
    # Given a run in which all clients take part in all rounds
    folder = run(tmp_path, "scaffold", compression=compression)

    # Then what is kept is the sum of the c_i that the clients keep, and c, a third of it, their mean
    common = auxiliary.split(arrays.map_file(folder.state(ROUNDS)))[1]["sum_c"]
    responses = folder.history()[-1].responses
    updates = {client_id: update_name(ROUNDS, responses[client_id].digest) for client_id in EXAMPLES}
    files = [
        tmp_path / "clients" / name / "runs" / "run" / f"after-round-{update}.safetensors"
        for name, update in updates.items()
    ]
    own = [auxiliary.split(arrays.map_file(file))[1]["c"] for file in files]
    for name, values in common.items():
        np.testing.assert_allclose(values, np.sum([each[name] for each in own], axis=0), rtol=1e-4, atol=1e-6)
    assert any(np.abs(values).max() > 0 for values in common.values())


def test_the_number_of_clients_is_that_of_all_who_were_in_a_cohort_or_are_there(
    federation: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given clients that note which number their orders have
    seen: dict[int, set[int]] = {}

    def train(workload: Workload, data: Any, order: TrainOrder, *rest: Any) -> LocalResult:
        seen.setdefault(order.round_number, set()).add(order.num_clients)
        return train_locally(workload, data, order, *rest)

    monkeypatch.setattr("worker.handlers.train.train_locally", train)
    present = federation.registry.announcements
    later = {name: present.pop(name) for name in ("bert", "carl")}

    # When two of them join after the first round, one leaves after the second and is back after the third,
    def move(event: Event) -> None:
        closed = event.round_number if isinstance(event, RoundClosed) else 0
        if closed in (1, 3):
            present.update(later)
        if closed == 2:
            present.pop("carl")
        if closed == 3:
            raise StoppedError

    federation.on_event = move
    with pytest.raises(StoppedError):
        federation.run(num_clients=1, rounds=ROUNDS)

    # And the run is taken up without it
    present.pop("carl")
    federation.go_on(RunFolder.open(tmp_path / "run"))

    # Then one that is away still counts
    assert seen == {1: {1}, 2: {3}, 3: {3}, 4: {3}}


def test_a_failed_round_keeps_model_and_state(tmp_path: Path) -> None:
    # Given a run in which round 2 has too few updates
    folder = run(tmp_path, "fedadam", {"carl": Hostile()}, min_updates=3)
    history = folder.history()
    assert [record.status for record in history] == ["closed", "failed", "closed", "failed"]

    # Then both are what they were
    assert history[1].digest == history[0].digest
    assert history[1].state_digest == history[0].state_digest != history[2].state_digest
    assert folder.state(2).read_bytes() == folder.state(1).read_bytes()


def test_an_update_without_what_the_algorithm_sends_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a client that sends no control variate
    ignorant = altered(monkeypatch, lambda result: replace(result, sent={}, state=lambda _: {}))

    # When it takes part, then its updates are rejected, and those of the others count
    last = run(tmp_path, "scaffold", ignorant).history()[-1]
    assert last.responses["carl"].status is Status.REJECTED
    assert "missing '@c/" in last.responses["carl"].reason
    assert last.status == "closed"


@pytest.mark.parametrize("name", ["scaffold", "mimelite"])
def test_verification_sees_what_comes_with_an_update_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # Given a client that trains honestly, and sends a set of arrays with it that would turn everybody's training
    def huge(result: LocalResult) -> LocalResult:
        sent = {kind: {k: np.full_like(v, 1e30) for k, v in each.items()} for kind, each in result.sent.items()}
        return replace(result, sent=sent)

    # When updates are verified
    folder = run(tmp_path, name, altered(monkeypatch, huge), verify=("norm",), threshold=("mad:50",))

    # Then it is rejected for that, and the others learn
    history = folder.history()
    assert {record.responses["carl"].status for record in history} == {Status.REJECTED}
    assert "the set '" in history[0].responses["carl"].reason
    assert [record.status for record in history] == ["closed"] * ROUNDS
    assert history[-1].metrics["accuracy"] > 0.3


@pytest.mark.parametrize(("name", "claim"), [("qfedavg", {"start_loss": 1e308}), ("fednova", {})])
def test_no_claim_of_one_client_ends_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, claim: dict[str, float]
) -> None:
    # Given a client that claims a loss, and a number of steps, beyond all measure
    def lie(result: LocalResult) -> LocalResult:
        return replace(result, trained=replace(result.trained, num_steps=10**12), metrics=claim)

    # When a run is carried out, then it closes all its rounds, and learns
    history = run(tmp_path, name, altered(monkeypatch, lie)).history()
    assert [record.status for record in history] == ["closed"] * ROUNDS
    assert history[-1].metrics["accuracy"] > 0.3
