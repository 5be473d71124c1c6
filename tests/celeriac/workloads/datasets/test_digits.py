from __future__ import annotations

import gzip
import importlib.util
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from torch import nn

from celeriac.workloads.datasets.digits import Digits, read_digits
from celeriac.workloads.local_steps import seeded
from celeriac.workloads.splits import hold_out
from tasks.arrays import spec_of
from tasks.context import Context, TimeBudget
from tasks.errors import ConfigurationError, DataMissingError
from tasks.messages import TrainOptions
from tasks.seeds import derive_seed, generator
from tasks.workload import DataSource, Part, load_workload


def test_digits_read_from_the_packaged_file_are_those_of_scikit_learn() -> None:
    # Given scikit-learn's own way to load them
    inputs, targets = load_digits(return_X_y=True)
    # When they are read from the packaged file
    digits = read_digits()
    # Then they are the same, but for pixels scaled from 0 … 16 to -2 … 2
    assert np.array_equal(digits.inputs, inputs / 4 - 2)
    assert np.array_equal(digits.targets, targets)


def test_reading_digits_does_not_import_scikit_learn() -> None:
    # Given a fresh interpreter
    code = (
        "import sys; from celeriac.workloads.datasets import digits; digits.read_digits(); "
        "print('sklearn' in sys.modules)"
    )
    # When it reads the digits
    folder = Path(__file__).parents[4]
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    # Then scikit-learn, slow to start, was left alone
    assert done.stdout.strip() == "False"


def test_it_is_found_by_its_built_in_name() -> None:
    # Given the name, when it is loaded, then it is this workload
    assert isinstance(load_workload("digits"), Digits)


def test_orchestrator_and_clients_share_no_digit_and_leave_none_out() -> None:
    # Given the orchestrator, and three clients each with an instance of its own
    held_out = Digits().holdout_data(None)
    clients = [Digits().client_data(DataSource(part=Part(index, 3))) for index in range(3)]
    # When everyone's digits are put together
    inputs = [held_out.inputs, *(data.train.inputs for data in clients), *(data.test.inputs for data in clients)]
    together = np.concatenate(inputs)
    # Then they are the data set (whose images are all different), 20 % held out and a tenth of each client's
    assert len(held_out) == 359
    assert [(data.num_train, len(data.test)) for data in clients] == [(432, 48), (431, 48), (431, 48)]
    assert np.array_equal(np.unique(together, axis=0), np.unique(read_digits().inputs, axis=0))
    assert len(together) == 1_797


def test_every_class_is_held_out_and_announced_by_each_of_ten_clients() -> None:
    # Given what the orchestrator holds out, and ten clients
    held_out = Digits().holdout_data(None)
    clients = [Digits().client_data(DataSource(part=Part(index, 10))) for index in range(10)]
    # Then all ten classes are everywhere, and labels count what is trained on
    assert all(count >= 20 for count in held_out.labels().values())
    assert all(list(data.labels) == [str(digit) for digit in range(10)] for data in clients)
    assert all(sum(data.labels.values()) == data.num_train for data in clients)


def test_more_parts_than_digits_are_refused() -> None:
    # Given 1,438 digits that aren't held out, when they are to be 1,439 parts, then that is an error
    with pytest.raises(ConfigurationError, match="1438 examples can't be split into 1439 parts"):
        Digits().client_data(DataSource(part=Part(0, 1_439)))


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given that scikit-learn can't be found
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    # When digits are read, then the message says what to do
    with pytest.raises(DataMissingError, match="pip install scikit-learn"):
        read_digits()


@pytest.mark.parametrize("content", [None, "1,2,3\n", "one,two\n"])
def test_a_packaged_file_that_is_missing_or_damaged_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    # Given an installation without the file, or with another in its place
    folder = tmp_path / "datasets" / "data"
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "digits.csv.gz").write_bytes(gzip.compress(content.encode()))
    spec = ModuleSpec("sklearn", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    # When digits are read, then the message names it
    with pytest.raises(DataMissingError, match=r"digits\.csv\.gz"):
        read_digits()


def test_without_parameters_it_is_the_perceptron_with_iid_parts_bit_for_bit() -> None:
    # Given the model of two layers as such, and iid parts of the digits that aren't held out
    with seeded(derive_seed(3, "initial")):
        model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    expected = {name: value.numpy() for name, value in model.state_dict().items()}
    shared, _ = hold_out(np.arange(1_797), 0.2, 1_797)
    order = generator(1_797, "parts").permutation(1_438)
    train, test = hold_out(np.sort(np.array_split(order, 4)[2]), 0.1, 1_797)
    # When the workload makes them, named with its defaults or without
    for spec in ("digits", "digits,net=mlp,split=iid,split-seed=1797"):
        workload = load_workload(spec)
        parameters = workload.initial_parameters(Context(seed=3))
        data = workload.client_data(DataSource(part=Part(2, 4)))
        # Then names and bits are the same
        assert {name: array.tobytes() for name, array in parameters.items()} == {
            name: array.tobytes() for name, array in expected.items()
        }
        assert np.array_equal(data.train.inputs, read_digits().inputs[shared[train]])
        assert np.array_equal(data.test.targets, read_digits().targets[shared[test]])


def test_another_split_or_seed_changes_parts_but_not_what_is_held_out() -> None:
    # Given digits in three ways
    workloads = [load_workload(spec) for spec in ("digits", "digits,split-seed=1", "digits,split=shards:1")]
    # When two parts are made of them
    parts = [[each.client_data(DataSource(part=Part(index, 2))) for index in range(2)] for each in workloads]
    # Then clients have other digits, and the orchestrator the same
    first = [part[0].train.inputs.tobytes() for part in parts]
    assert len(set(first)) == 3
    assert len({each.holdout_data(None).inputs.tobytes() for each in workloads}) == 1
    # And a shard is half of the labels, all of whose digits are at one client, but for those at the cut
    labels = [set(part.labels) for part in parts[2]]
    assert len(labels[0] & labels[1]) <= 1
    assert sum(part.num_train + len(part.test) for part in parts[2]) == 1_438


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("net=cn", "unknown net 'cn': did you mean 'cnn'"),
        ("net=lenet5", "net 'lenet5' takes images of 12x12 pixels or more, these have 8x8"),
        ("split=dirichle", "unknown split 'dirichle': did you mean 'dirichlet'"),
        ("split=shards:0", "write shards:N"),
        ("split-seed=-1", r"split-seed=-1: whole numbers from 0 to 9223372036854775807 are allowed"),
        ("split-seed=9223372036854775808", "split-seed="),
        ("split-seed=one", "split-seed=one: whole numbers"),
    ],
)
def test_a_value_that_is_wrong_is_refused_when_the_workload_is_made(parameter: str, message: str) -> None:
    # Given a wrong value, when the workload is loaded, then the message says what is allowed
    with pytest.raises(ConfigurationError, match=message):
        load_workload(f"digits,{parameter}")


@pytest.mark.parametrize("net", ["linear", "2nn", "cnn", "resnet18"])
def test_a_client_trains_each_net_that_takes_digits(net: str) -> None:
    # Given a client with one of forty parts
    workload = load_workload(f"digits,net={net}")
    data = workload.client_data(DataSource(part=Part(0, 40)))
    parameters = workload.initial_parameters(Context(seed=1))
    # When it trains for one epoch, then parameters move, and are such as came in
    options = TrainOptions(epochs=1, batch_size=16)
    result = workload.train(parameters, data.train, Context(options=options, seed=1, budget=TimeBudget(600.0)))
    assert spec_of(result.parameters) == spec_of(parameters)
    assert any(not np.array_equal(result.parameters[name], parameters[name]) for name in parameters)


def test_a_client_that_tests_on_nothing_trains_on_its_whole_part() -> None:
    # Given the same part with a tenth to test on, a half, and nothing
    source = DataSource(part=Part(1, 4))
    tenth, half, nothing = (Digits(test_share=share).client_data(source) for share in ("0.1", "0.5", "0"))
    # Then nothing is lost, and what isn't tested on is trained on
    assert len(nothing.test) == 0
    assert nothing.num_train == tenth.num_train + len(tenth.test) == half.num_train + len(half.test)
    assert len(half.test) == round(0.5 * nothing.num_train)


@pytest.mark.parametrize("share", ["1", "-0.1", "much", "nan"])
def test_a_share_to_test_on_that_is_none_is_refused(share: str) -> None:
    with pytest.raises(ConfigurationError, match=f"test-share={share}: numbers from 0 to under 1 are allowed"):
        Digits(test_share=share)


@pytest.mark.parametrize("share", ["0", "0.1"])
def test_the_columns_are_of_all_of_a_clients_digits(share: str) -> None:
    # Given a client's half of the digits, with or without some to test on
    workload = Digits(test_share=share)
    data = workload.client_data(DataSource(part=Part(0, 2)))
    # When its columns are asked for, then they tell label and mean pixel of each digit
    columns = workload.columns(data)
    assert len(columns["label"]) == len(columns["mean_pixel"]) == len(data.train) + len(data.test) == 719
    assert columns["label"][0] == str(data.train.targets[0])
    assert columns["mean_pixel"][0] == pytest.approx(data.train.inputs[0].mean())
