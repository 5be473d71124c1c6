"""A round on each data set's format, with files of a few examples."""

from __future__ import annotations

from pathlib import Path

import pytest

from celeriac import federate
from celeriac.workloads.nets import NETS
from tasks.workload import DATA_SETS
from tests.celeriac.workloads.datasets.tiny_data_sets import FORMATS, IMAGES


@pytest.mark.parametrize("name", FORMATS)
def test_two_clients_train_a_round_on_each_format(tmp_path: Path, name: str) -> None:
    # Given files of the format, when two clients train on their parts of them
    new_workload, write = FORMATS[name]
    folder = write(tmp_path / "data")
    run = federate(
        new_workload(), clients=2, rounds=1, backend="eager", seed=1, data=folder, batch_size=10, evaluate_share=0.5
    )
    # Then both updates make a model, which is evaluated on what the orchestrator holds out, as clients do with theirs
    (record,) = list(run)
    assert run.history.num_accepted.tolist() == [2]
    assert 0 <= record.metrics["accuracy"] <= 1
    assert run.summary is not None
    assert run.summary.rounds == 1


@pytest.mark.parametrize("name", ["fashion-mnist", "emnist balanced", "cifar10", "cifar100 python", "femnist-leaf"])
def test_every_net_trains_a_round_on_each_format(tmp_path: Path, name: str) -> None:
    # Given files of the format, when two clients train each net on two of its images
    new_workload, write = IMAGES[name]
    folder = write(tmp_path / "data")
    for net in NETS:
        run = federate(
            new_workload(net),
            clients=2,
            rounds=1,
            backend="eager",
            data=folder,
            batch_size=2,
            max_steps=1,
            evaluate_clients=False,
        )
        list(run)
        # Then both updates make a model
        assert run.history.num_accepted.tolist() == [2], net


def test_no_data_set_is_left_out() -> None:
    # Given all data sets, when digits, which need no files, and mnist, whose files are fashion-mnist's, are left out
    tried = {name.partition(" ")[0] for name in FORMATS}
    # Then the rest is tried above
    assert tried == DATA_SETS.keys() - {"digits", "mnist"}
