"""A model that has one matrix under two names, through whole runs: it is the model that has it under one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from celeriac.workloads.examples import Examples
from celeriac.workloads.torch_workload import TorchWorkload
from orchestrator.federate.in_memory import Participant, simulate
from tasks import arrays
from tasks.context import Context
from tasks.messages import TrainOptions
from tasks.workload import ClientData, DataSource, Part
from tests.support import run_config

NUM_WORDS = 12
ROUNDS = 3


class SharedInForward(nn.Module):
    """Says of each word which comes next; its embedding's matrix is the output layer's too."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(NUM_WORDS, 8)
        self.middle = nn.Linear(8, 8)

    def hidden(self, words: Tensor) -> Tensor:
        return torch.tanh(self.middle(self.embed(words.long())))

    def forward(self, words: Tensor) -> Tensor:
        return nn.functional.linear(self.hidden(words), self.embed.weight)


class TwoNames(SharedInForward):
    """The same model, with the matrix as the parameter of an output layer."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, NUM_WORDS, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, words: Tensor) -> Tensor:
        logits: Tensor = self.head(self.hidden(words))
        return logits


class Reference(TorchWorkload):
    def build_model(self, context: Context) -> nn.Module:
        return SharedInForward()

    def client_data(self, source: DataSource) -> ClientData:
        return ClientData(words(source.part.index, 100), words(10 + source.part.index, 20), 100)

    def holdout_data(self, folder: Path | None) -> Examples:
        return words(99, 100)


class Tied(Reference):
    def build_model(self, context: Context) -> nn.Module:
        return TwoNames()


def words(seed: int, number: int) -> Examples:
    """Words, each with the one that comes next."""
    drawn = np.random.default_rng(seed).integers(0, NUM_WORDS, number)
    return Examples(drawn.astype(np.float32), (5 * drawn + 1) % NUM_WORDS)


def final_model(kind: type[Reference], path: Path, algorithm: str, compression: str) -> arrays.Arrays:
    """Return the model that a run of two clients ends with."""
    config = run_config(
        workload=f"{__name__}:{kind.__name__}", algorithm=algorithm, compression=compression, num_clients=2,
        rounds=ROUNDS, options=TrainOptions(epochs=1, batch_size=16, learning_rate=0.5), evaluate_clients=False,
    )  # fmt: skip
    clients = {client_id: Participant(Part(index, 2), kind()) for index, client_id in enumerate(("anna", "bert"))}
    folder = simulate(config, clients, path, lambda _: None)
    assert [record.status for record in folder.history()] == ["closed"] * ROUNDS
    return arrays.map_file(folder.checkpoint(ROUNDS))


@pytest.mark.parametrize("compression", ["none", "int8", "topk:0.1", "bf16"])
@pytest.mark.parametrize("algorithm", ["fedavg", "fedavgm", "fedadam", "scaffold", "mime"])
def test_tied_weights_end_where_sharing_in_forward_does(tmp_path: Path, algorithm: str, compression: str) -> None:
    # Given the model with two names for the matrix, and with one
    tied = final_model(Tied, tmp_path / "tied", algorithm, compression)
    reference = final_model(Reference, tmp_path / "reference", algorithm, compression)
    # When both are trained, then they are one to the last bit
    assert {name: values.tobytes() for name, values in tied.items()} == {
        name: values.tobytes() for name, values in reference.items()
    }
