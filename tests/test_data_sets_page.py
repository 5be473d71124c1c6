"""docs/data-sets.md: its table says what the workloads say, and its code trains."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from celeriac.workloads.image_workload import LabelledImages
from celeriac.workloads.next_character import NUM_SYMBOLS
from tasks.context import Context
from tasks.workload import DATA_SETS, DataSource, Part, load_workload
from tests.integration.test_own_code import documented

PAGE = Path(__file__).parents[1] / "docs/data-sets.md"
ROWS = dict(re.findall(r"^\| `([a-z0-9-]+)` \| (.*) \|$", PAGE.read_text().partition("Pixels are")[0], re.MULTILINE))


def test_the_table_has_each_data_set() -> None:
    assert ROWS.keys() == DATA_SETS.keys()


@pytest.mark.parametrize("name", DATA_SETS)
def test_classes_and_models_are_those_of_the_workloads(name: str) -> None:
    # Given a row of the table, and its workload
    num_classes, model = ROWS[name].split(" | ")[2], ROWS[name].split(" | ")[-1]
    workload: Any = load_workload(name)
    # Then it says how many classes there are, and which model is trained
    if isinstance(workload, LabelledImages):
        assert (int(num_classes), model) == (workload.num_classes, f"`{workload.default_net}`")
    else:
        assert (int(num_classes), model) == (NUM_SYMBOLS, "GRU")


def test_images_of_one_s_own_are_a_class(tmp_path: Path) -> None:
    # Given twelve images in the page's files, and its class
    rng = np.random.default_rng(1)
    for name in ("images", "test_images"):
        np.save(
            tmp_path / f"{name}.npy",
            rng.random((12, 3, 32, 32), np.float32) if "_" in name else np.ones((12, 3, 32, 32), np.uint8),
        )
    for name in ("labels", "test_labels"):
        np.save(tmp_path / f"{name}.npy", np.arange(12) % 4)
    found: dict[str, Any] = {}
    exec(documented("docs/data-sets.md"), found)
    # When it is made with a net and a split, and a client loads its data
    workload = found["Leaves"](net="linear", split="shards:1")
    data = workload.client_data(DataSource(tmp_path, Part(0, 4)))
    # Then it has one class of four, which the net knows
    assert (len(data.labels), data.num_train) == (1, 2)
    parameters = workload.initial_parameters(Context(seed=1))
    assert workload.evaluate(parameters, workload.holdout_data(tmp_path), Context()).num_examples == 12
    assert list(parameters.values())[-1].shape == (4,)
