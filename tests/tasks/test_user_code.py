from __future__ import annotations

import signal
from typing import Any

import numpy as np
import pytest

from tasks.messages import MAX_COUNT
from tasks.user_code import UserCodeError, checked_client_data, checked_result, user_code
from tasks.workload import ClientData, TrainResult


def data(**changes: Any) -> ClientData:
    return ClientData(**{"train": "training", "test": "held out", "num_train": 5, **changes})


def test_a_clients_data_is_taken_as_it_is() -> None:
    # Given data with labels as text, when it is checked, then it is the same
    given = data(labels={"cat": 3, "dog": 2})
    assert checked_client_data(given) == given


def test_labels_and_counts_of_numpy_are_taken_as_text_and_whole_numbers() -> None:
    # Given labels as np.unique gives them
    labels, counts = np.unique([3, 7, 7], return_counts=True)
    # When they are checked
    checked = checked_client_data(data(num_train=np.int64(3), labels=dict(zip(labels, counts, strict=True))))
    # Then they are what is announced
    assert (checked.num_train, checked.labels) == (3, {"3": 1, "7": 2})
    assert {type(value) for value in (checked.num_train, *checked.labels.values())} == {int}
    assert {type(label) for label in checked.labels} == {str}


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (("train", "test"), r"returned tuple: a ClientData\(train, test, num_train, labels\) is needed"),
        (None, r"returned NoneType: a ClientData"),
        (data(num_train=5.0), r"returned num_train is float: a whole number is needed"),
        (data(num_train=-1), r"returned num_train is -1: 0 to 1000000000000 is allowed"),
        (data(num_train=MAX_COUNT + 1), r"returned num_train is 1000000000001: 0 to"),
        (data(labels=[1, 2]), r"returned labels that are list: a dict with the number of examples of each label"),
        (data(labels={1.5: 2}), r"returned labels with 1\.5, which is float: text or whole numbers are allowed"),
        (data(labels={True: 2}), r"returned labels with True, which is bool"),
        (data(labels={"cat": "two"}), r"returned labels: the number of 'cat' is str: a whole number is needed"),
        (data(labels={"3": 1, 3: 2}), r"returned labels of which two are one as text"),
        (data(labels=dict.fromkeys(range(25_001), 1)), r"returned 25001 labels: at most 25000 are allowed"),
        (data(labels={"x" * 101: 1}), r"returned labels with 'x{20}'…, which has 101 characters: at most 100 are"),
        (
            data(labels={f"{index:0>90}": 1 for index in range(3_000)}),
            r"returned labels that take 285001 bytes with their numbers: at most 262144 are allowed",
        ),
    ],
)
def test_what_is_no_clients_data_is_refused_with_what_is_needed(returned: object, message: str) -> None:
    # Given something else than client_data() has to return, when it is checked, then the message says what is wrong
    with pytest.raises(UserCodeError, match=rf"^client_data\(\) {message}"):
        checked_client_data(returned)


def test_a_text_among_the_metrics_of_training_is_refused_by_name() -> None:
    # Given a metric that is no number, when the result is checked, then the message names it
    result = TrainResult({"w": np.zeros(2)}, 5, 1, 1.0, {"train_loss": 0.5, "net": "cnn"})  # type: ignore[dict-item]
    with pytest.raises(UserCodeError, match=r"^metric 'net' of train\(\): str is no number$"):
        checked_result(result, {"w": np.zeros(2)}, {})


MODEL = {"w": np.zeros(2)}


def trained(**changes: Any) -> TrainResult:
    return TrainResult(**{"parameters": MODEL, "num_examples": 5, "num_steps": 1, "num_epochs": 1.0, **changes})


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (
            (MODEL, 5, {}),
            r"returned tuple: a TrainResult\(parameters, num_examples, num_steps, num_epochs, ",
        ),
        (trained(parameters=[np.zeros(2)]), "returned parameters that are list: a dict of NumPy arrays by name"),
        (trained(parameters={"w": None}), "returned parameters of which 'w' is NoneType: a dict of NumPy arrays"),
        (
            trained(parameters={"w": np.zeros(2, complex)}),
            "returned parameters: array 'w' has dtype complex128",
        ),
        (
            trained(parameters=dict.fromkeys("abcdw", np.zeros(2))),
            "returned parameters: array names differ from the model's: unknown 'a', 'b', 'c' and 1 more$",
        ),
        (
            trained(parameters={"w": np.zeros(3)}),
            r"returned parameters: array 'w' is F64 \(3,\), the model's is F64 \(2,\)$",
        ),
        (trained(num_examples=2.5), "returned num_examples is float: a whole number is needed"),
        (trained(num_steps=-1), "returned num_steps is -1: 0 to"),
        (trained(num_epochs="one"), "returned num_epochs: str is no number"),
        (trained(metrics=[1.0]), "returned metrics that are list: a dict of numbers by name is needed"),
    ],
)
def test_what_is_no_result_of_training_is_refused_with_what_is_needed(returned: object, message: str) -> None:
    # Given something else than train() has to return for a model of one array, when it is checked, then it is told
    with pytest.raises(UserCodeError, match=rf"^train\(\) {message}"):
        checked_result(returned, MODEL, {})


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (SystemExit("no such file"), r"SystemExit: no such file \(test_user_code\.py, line \d+, in test_"),
        (AssertionError(), r"AssertionError: raise raised \(test_user_code\.py, line"),
    ],
)
def test_what_users_code_raises_is_told_with_its_method_and_place(raised: BaseException, told: str) -> None:
    # Given users' code that exits, or raises without a text, when it is called, then the error says what and where
    with pytest.raises(UserCodeError, match=rf"^train\(\): {told}"), user_code("train()"):
        raise raised


def test_a_keyboard_interrupt_is_the_users_own_where_ctrl_c_raises_none() -> None:
    # Given a process that ignores Ctrl-C, as those do that train, when users' code raises KeyboardInterrupt
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        # Then it is an error like another
        with pytest.raises(UserCodeError, match=r"^train\(\): KeyboardInterrupt"), user_code("train()"):
            raise KeyboardInterrupt
        # And where Ctrl-C raises it, it ends the process
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with pytest.raises(KeyboardInterrupt), user_code("train()"):
            raise KeyboardInterrupt
    finally:
        signal.signal(signal.SIGINT, before)
