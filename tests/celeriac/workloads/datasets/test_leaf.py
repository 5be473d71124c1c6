from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from celeriac.workloads.datasets.leaf import FemnistLeaf, ShakespeareLeaf
from celeriac.workloads.next_character import IGNORED, encode
from tasks.errors import ConfigurationError, DataMissingError
from tasks.workload import DataSource, Part, load_workload
from tests.celeriac.workloads.datasets.tiny_files import leaf_json, write_femnist_leaf, write_shakespeare_leaf


def test_with_as_many_clients_as_writers_each_has_one(tmp_path: Path) -> None:
    # Given four writers in two files; writer i has i + 2 images to train on, all of class i
    folder = write_femnist_leaf(tmp_path)
    # When four clients load their data
    clients = [FemnistLeaf().client_data(DataSource(folder, Part(index, 4))) for index in range(4)]
    # Then each has a writer's images, as LEAF has divided them
    found = sorted((*data.labels, data.num_train, len(data.test)) for data in clients)
    assert found == [("0", 2, 1), ("1", 3, 1), ("2", 4, 1), ("3", 5, 1)]
    assert all(data.train.inputs.shape[1:] == (28, 28) for data in clients)
    for data in clients:
        assert np.rint(data.train.inputs[:, 0, 0] * 100).tolist() == data.train.targets.tolist()


def test_with_fewer_clients_they_share_the_writers_and_the_orchestrator_has_what_is_held_out(tmp_path: Path) -> None:
    # Given the same in the folder that LEAF's script makes, when two clients load their data, then each has two writers
    folder = write_femnist_leaf(tmp_path / "data").parent
    clients = [FemnistLeaf().client_data(DataSource(folder, Part(index, 2))) for index in range(2)]
    assert [len(data.labels) for data in clients] == [2, 2]
    assert sum(data.num_train for data in clients) == 2 + 3 + 4 + 5
    assert FemnistLeaf().holdout_data(folder).targets.tolist() == [0, 1, 2, 3]


def test_a_client_none_of_whose_writers_are_held_out_has_nothing_to_test_on(tmp_path: Path) -> None:
    # Given writers that LEAF divided by user: others are for testing
    write_femnist_leaf(tmp_path)
    (tmp_path / "test" / "a.json").write_text(leaf_json({"other": ([[1.0] * 784], [61])}))
    (tmp_path / "test" / "b.json").unlink()
    # When a client loads its data, then it isn't asked to evaluate, and can tell statistics
    workload = FemnistLeaf()
    data = workload.client_data(DataSource(tmp_path))
    assert data.test is None
    assert len(workload.columns(data)["label"]) == data.num_train == 14
    assert workload.holdout_data(tmp_path).targets.tolist() == [61]


def test_of_a_text_the_character_after_it_alone_is_the_target(tmp_path: Path) -> None:
    # Given two roles with texts and what follows
    data = ShakespeareLeaf().client_data(DataSource(write_shakespeare_leaf(tmp_path)))
    # When they are read
    inputs, targets = data.train.inputs, data.train.targets
    # Then the model reads the text, and its last answer counts
    assert inputs.shape == targets.shape == (data.num_train, 80) == (6, 80)
    assert set(targets[:, :-1].ravel().tolist()) == {IGNORED}
    assert set(targets[:, -1].tolist()) <= set(encode("abc").tolist())
    assert ShakespeareLeaf().holdout_data(tmp_path).inputs.shape == (2, 80)


@pytest.mark.parametrize(
    ("workload", "content", "message"),
    [
        ("femnist-leaf", "{", "is no file of LEAF's: .*Invalid JSON"),
        ("femnist-leaf", "{}", "user_data Field required"),
        ("femnist-leaf", leaf_json({"u": ([[1.0] * 784], [])}), "user 'u' has another number of x than of y"),
        ("femnist-leaf", leaf_json({"u": ([[1.0] * 784], [62])}), "user_data.u.y.0 Input should be less than 62$"),
        ("femnist-leaf", leaf_json({"u": ([[1.0] * 784], [10**30])}), "user_data.u.y.0 Input should be less than 62$"),
        (
            "femnist-leaf",
            leaf_json({"u": ([[2.0] * 784], [1])}),
            "user_data.u.x.0.0 Input should be less than or equal",
        ),
        ("femnist-leaf", leaf_json({"u": ([[float("nan")] * 784], [1])}), "user_data.u.x.0.0 Input should be"),
        (
            "femnist-leaf",
            leaf_json({"u": (["x" * 80] * 9, ["y"] * 9)}),
            "user_data.u.x.0 Input should be a valid array$",
        ),
        ("femnist-leaf", leaf_json({"u": ([[1.0] * 783], [1])}), "cannot reshape"),
        ("shakespeare-leaf", leaf_json({"u": (["x" * 79], ["y"])}), "x of 80 characters and y of one are needed"),
        ("shakespeare-leaf", leaf_json({"u": (["x" * 80], ["yz"])}), "x of 80 characters and y of one are needed"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path: Path, workload: str, content: str, message: str) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "all.json").write_text(content)
    with pytest.raises(DataMissingError, match=rf"test/all\.json .*{message}"):
        load_workload(workload).holdout_data(tmp_path)


@pytest.mark.parametrize("name", ["femnist", "shakespeare"])
def test_without_files_it_is_said_how_leaf_makes_them(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        DataMissingError, match=rf"no train/\*\.json or .* in .*cd leaf/data/{name} && \./preprocess\.sh"
    ):
        load_workload(f"{name}-leaf").client_data(DataSource(tmp_path))


def test_more_clients_than_writers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="5 clients for 4 users"):
        FemnistLeaf().client_data(DataSource(write_femnist_leaf(tmp_path), Part(0, 5)))


def test_files_without_a_user_are_refused(tmp_path: Path) -> None:
    write_femnist_leaf(tmp_path)
    for path in (tmp_path / "test").iterdir():
        path.write_text(leaf_json({}))
    with pytest.raises(DataMissingError, match="test has files without a user: at least one is needed"):
        FemnistLeaf().holdout_data(tmp_path)


def test_a_user_in_two_files_is_refused(tmp_path: Path) -> None:
    # Given a folder in which files of two runs of LEAF's script are
    write_femnist_leaf(tmp_path)
    (tmp_path / "train" / "c.json").write_text((tmp_path / "train" / "a.json").read_text())
    # When a client loads its data, then it says which users are there twice, rather than take one of both
    with pytest.raises(DataMissingError, match=r"train/c\.json has users that another .* too: f0000_0, f0001_1; leave"):
        FemnistLeaf().client_data(DataSource(tmp_path))
