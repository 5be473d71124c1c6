"""Base of workloads that predict each character of a text from the ones before it, with a GRU.

McMahan et al. 2017 (arXiv 1602.05629, section 3) and LEAF (Caldas et al. 2018, arXiv 1812.01097) read 80 characters
through an embedding of 8 numbers and two LSTM layers of 256 units; McMahan's model has 866,578 parameters. Here it is a
single GRU layer of 128 units (Cho et al. 2014, arXiv 1406.1078), or as many as ``hidden`` says: processors alone train
it in reasonable time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from celeriac.workloads.torch_workload import TorchWorkload
from tasks.context import Context
from tasks.errors import ConfigurationError
from tasks.run_config import RunSetting

ALPHABET = "\n !\"&'(),-.0123456789:;>?ABCDEFGHIJKLMNOPQRSTUVWXYZ[]abcdefghijklmnopqrstuvwxyz}"
"""LEAF's, in its order. It is fixed, so that clients needn't tell which characters they have."""
NUM_SYMBOLS = len(ALPHABET) + 1
"""The alphabet's characters, and one symbol for all others."""
NUM_CHARACTERS = 80
"""Characters that the model reads at a time."""
NUM_EMBEDDED = 8
IGNORED = -100
"""A target that counts neither for the loss nor for the accuracy, as torch's cross entropy has it."""

Codes = npt.NDArray[np.uint8]
"""Characters as positions in the alphabet; its length stands for those outside."""
Targets = npt.NDArray[np.int16]
"""Codes of the characters that follow, or :data:`IGNORED`."""


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Examples: inputs and targets, each of shape ``(n, 80)``; a target is what follows the input at its place."""

    inputs: Codes
    targets: Targets

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.targets)


def encode(text: str) -> Codes:
    """Return a text's characters as codes, shape ``(len(text),)``."""
    codes = np.full(256, len(ALPHABET), np.uint8)
    codes[list(ALPHABET.encode())] = np.arange(len(ALPHABET), dtype=np.uint8)
    characters = np.frombuffer(text.encode("utf-32-le"), "<u4")
    return cast(Codes, codes[np.minimum(characters, 255)])


def windows(text: str) -> tuple[Codes, Targets]:
    """Cut a text into windows of 80 characters, and what follows each character: the two parts of :class:`Windows`.

    Fewer than 80 characters at the end are left out.
    """
    codes = encode(text)
    size = max(len(codes) - 1, 0) // NUM_CHARACTERS * NUM_CHARACTERS
    targets = codes[1 : size + 1].astype(np.int16)
    return codes[:size].reshape(-1, NUM_CHARACTERS), targets.reshape(-1, NUM_CHARACTERS)


class CharacterGru(nn.Module):
    """From codes, int64, shape ``(n, 80)``, to logits of the characters that follow, ``(n, NUM_SYMBOLS, 80)``."""

    def __init__(self, num_hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(NUM_SYMBOLS, NUM_EMBEDDED)
        self.gru = nn.GRU(NUM_EMBEDDED, num_hidden, batch_first=True)
        self.output = nn.Linear(num_hidden, NUM_SYMBOLS)

    def forward(self, codes: Tensor) -> Tensor:
        """Return the logits."""
        states, _ = self.gru(self.embedding(codes))
        logits: Tensor = self.output(states)
        return logits.transpose(1, 2)


class NextCharacter(TorchWorkload):
    """Trains :class:`CharacterGru` on :class:`Windows`. The accuracy is the share of characters that it gets right.

    Args:
        hidden: Units of the GRU, from 1 to 4096.

    Raises:
        ConfigurationError: If it is another number.
    """

    run_config: ClassVar[Mapping[str, RunSetting] | None] = {}

    def __init__(self, hidden: str = "128") -> None:
        if not (hidden.isascii() and hidden.isdigit() and 1 <= int(hidden) <= 4096):
            raise ConfigurationError(f"hidden={hidden}: whole numbers from 1 to 4096 are allowed")
        self._num_hidden = int(hidden)

    def build_model(self, context: Context) -> nn.Module:
        """Return a new model: 64,089 parameters with 128 units."""
        return CharacterGru(self._num_hidden)
