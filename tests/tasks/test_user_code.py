from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tasks.messages import MAX_COUNT
from tasks.user_code import UserCodeError, checked_client_data, checked_result
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
        (data(num_train=None), r"returned num_train is NoneType: a whole number is needed"),
        (data(num_train=-1), r"returned num_train is -1: 0 to 1000000000000 is allowed"),
        (data(num_train=MAX_COUNT + 1), r"returned num_train is 1000000000001: 0 to"),
        (data(labels=[1, 2]), r"returned labels that are list: a dict with the number of examples of each label"),
        (data(labels={1.5: 2}), r"returned labels with 1\.5, which is float: text or whole numbers are allowed"),
        (data(labels={True: 2}), r"returned labels with True, which is bool"),
        (data(labels={"cat": "two"}), r"returned labels: the number of 'cat' is str: a whole number is needed"),
        (data(labels={"3": 1, 3: 2}), r"returned labels of which two are one as text"),
        (data(labels=dict.fromkeys(range(100_001), 1)), r"returned 100001 labels: at most 100000 are allowed"),
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
        checked_result(result)
