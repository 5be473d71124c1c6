from __future__ import annotations

import numpy as np
import pytest
import torch

from celeriac.workloads.next_character import (
    ALPHABET,
    IGNORED,
    NUM_CHARACTERS,
    NUM_SYMBOLS,
    NextCharacter,
    Windows,
    encode,
    windows,
)
from tasks.context import Context, TimeBudget
from tasks.errors import ConfigurationError
from tasks.messages import TrainOptions
from tasks.workload import ClientData, DataSource


class Repeating(NextCharacter):
    """A text in which each character says which one follows."""

    def client_data(self, source: DataSource) -> ClientData:
        data = Windows(*windows("abcdefgh" * 101))
        return ClientData(data, data)


def test_the_alphabet_is_leaf_s_80_characters_and_one_for_all_others() -> None:
    assert (len(ALPHABET), len(set(ALPHABET)), NUM_SYMBOLS) == (80, 80, 81)
    assert encode("\n }").tolist() == [0, 1, 79]
    assert encode("~é€😀").tolist() == [80] * 4
    assert "".join(ALPHABET[code] for code in encode("To be, or not")) == "To be, or not"


def test_a_target_is_the_character_after_the_input_at_its_place() -> None:
    # Given 200 characters, when they are cut, then there are two windows, and 39 characters are left out
    text = "".join(ALPHABET[number % 80] for number in range(7, 207))
    inputs, targets = windows(text)
    assert inputs.shape == targets.shape == (2, 80)
    assert inputs.ravel().tolist() == encode(text[:160]).tolist()
    assert targets.ravel().tolist() == encode(text[1:161]).tolist()


@pytest.mark.parametrize(("length", "num_windows"), [(0, 0), (1, 0), (80, 0), (81, 1), (160, 1), (161, 2)])
def test_a_window_needs_80_characters_and_one_that_follows(length: int, num_windows: int) -> None:
    inputs, targets = windows("x" * length)
    assert inputs.shape == targets.shape == (num_windows, NUM_CHARACTERS)


@pytest.mark.parametrize(("hidden", "num_parameters"), [("128", 64_089), ("256", 225_753)])
def test_the_model_has_as_many_parameters_as_its_layers(hidden: str, num_parameters: int) -> None:
    # Given an embedding, three gates with two biases each, and a linear layer, when they are counted by hand
    units = int(hidden)
    by_hand = 81 * 8 + 3 * units * (8 + units + 2) + (units + 1) * 81
    # Then the model has that number
    parameters = Repeating(hidden).initial_parameters(Context(seed=1))
    assert sum(array.size for array in parameters.values()) == by_hand == num_parameters


def test_a_model_learns_which_character_follows() -> None:
    # Given a text that repeats itself
    workload, options = Repeating("16"), TrainOptions(epochs=30, batch_size=5, learning_rate=2.0)
    data, parameters = workload.client_data(DataSource()), workload.initial_parameters(Context(seed=1))
    before = workload.evaluate(parameters, data.test, Context())
    # When a client trains on it
    result = workload.train(parameters, data.train, Context(options=options, seed=1, budget=TimeBudget(600.0)))
    # Then it gets more of the characters right than by chance, and as many examples count as there are windows
    after = workload.evaluate(result.parameters, data.test, Context())
    assert (result.num_examples, after.num_examples) == (10, 10)
    assert before.metrics["accuracy"] < 0.2 < 0.9 < after.metrics["accuracy"]


def test_ignored_targets_count_neither_for_loss_nor_for_accuracy() -> None:
    # Given windows of which the last target alone counts
    inputs, targets = windows("abcdefgh" * 101)
    last = targets.copy()
    last[:, :-1] = IGNORED
    # When they are evaluated
    workload = Repeating("16")
    parameters = workload.initial_parameters(Context(seed=1))
    found = workload.evaluate(parameters, Windows(inputs, last), Context())
    # Then the loss is that of the last characters
    model = workload.build_model(Context())
    model.load_state_dict({name: torch.tensor(array) for name, array in parameters.items()})
    logits = model(torch.tensor(inputs.astype(np.int64)))[:, :, -1]
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(targets[:, -1].astype(np.int64)))
    assert found.loss == pytest.approx(loss.item(), rel=1e-5)
    assert found.metrics["accuracy"] in [count / 10 for count in range(11)]


@pytest.mark.parametrize("hidden", ["0", "4097", "many", "1.5"])
def test_a_number_of_units_that_makes_no_sense_is_refused(hidden: str) -> None:
    with pytest.raises(ConfigurationError, match=f"hidden={hidden}: whole numbers from 1 to 4096 are allowed"):
        Repeating(hidden)
