from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from benchmarks.attacks import NUM_HOSTILE, Trial, client_id, hostile_ids, participants
from benchmarks.hostile import ATTACKS
from orchestrator.federate.in_memory import Participant
from tasks.arrays import Array, Arrays
from tasks.context import Context, TimeBudget
from tasks.messages import TrainOptions
from tasks.workload import DataSource

SEED = 1


def updates_of(clients: Mapping[str, Participant], model: Arrays) -> dict[str, Arrays]:
    """What the clients return in a round, each with a seed of its own."""
    return {
        name: client.workload.train(
            model,
            client.workload.client_data(DataSource(None, client.part)).train,
            Context(options=TrainOptions(), seed=number, budget=TimeBudget(1e9)),
        ).parameters
        for number, (name, client) in enumerate(clients.items())
    }


def laid_out(update: Arrays) -> Array:
    return np.concatenate([update[name].reshape(-1) for name in sorted(update)])


def test_copies_are_one_honest_update_to_the_last_bit_and_another_in_the_next_round() -> None:
    # Given ten clients, three of which send copies
    clients = participants(Trial("copy", "", SEED))
    hostile = sorted(hostile_ids(SEED))
    first = clients[hostile[0]].workload.initial_parameters(Context(seed=3))
    # When all are trained, from a model and from another one
    sent = {name: laid_out(update) for name, update in updates_of(clients, first).items()}
    later = updates_of(
        {name: clients[name] for name in hostile}, clients[hostile[0]].workload.initial_parameters(Context(seed=4))
    )
    # Then the three have sent the same, which nobody else has
    copies = [sent[name] for name in hostile]
    assert len(copies) == NUM_HOSTILE
    assert all(np.array_equal(copy, copies[0]) for copy in copies)
    assert len({values.tobytes() for values in sent.values()}) == len(clients) - NUM_HOSTILE + 1
    # And it is as near to the honest updates as these are to each other
    honest = [values for name, values in sent.items() if name not in hostile]
    middle = np.mean(honest, axis=0)
    assert np.linalg.norm(copies[0] - middle) < 1.5 * max(np.linalg.norm(values - middle) for values in honest)
    # And so it is with the other model
    assert len({laid_out(update).tobytes() for update in later.values()}) == 1


@pytest.mark.parametrize(
    ("attack", "times"), [("sign flip", -3), ("weak sign flip", -1), ("flip x5", -5), ("scaled", 10)]
)
def test_flips_and_scaled_updates_go_so_many_times_as_far(attack: str, times: float) -> None:
    # Given an honest client, and one that goes elsewhere by the same data
    name = client_id(0)
    honest = {name: participants(Trial("", "", SEED))[name]}
    hostile = {name: Participant(honest[name].part, ATTACKS[attack](honest[name].workload))}
    model = honest[name].workload.initial_parameters(Context(seed=3))
    # When both are trained from a model
    start, ahead, away = (
        laid_out(values) for values in (model, *(updates_of(c, model)[name] for c in (honest, hostile)))
    )
    # Then one goes so many times as far as the other
    np.testing.assert_allclose(away - start, times * (ahead - start), atol=1e-5)
