"""The table of docs/nets.md says what the nets are."""

from __future__ import annotations

from pathlib import Path

import torch

from celeriac.workloads.nets import FORMS, NETS, NORMS
from celeriac.workloads.nets.net import ImageShape, load_net

PAGE = Path(__file__).parents[1] / "docs" / "nets.md"
LINES = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")][1:]
COLUMNS: tuple[tuple[ImageShape, int], ...] = (((1, 28, 28), 10), ((3, 32, 32), 10), ((3, 224, 224), 1_000))


def counted(name: str, shape: ImageShape, num_classes: int) -> str:
    """A number of parameters, as the table has it."""
    with torch.device("meta"):
        model = load_net(name, shape, num_classes)(shape, num_classes)
    return f"{sum(parameter.numel() for parameter in model.parameters()):,}"


def test_the_table_has_every_net_with_its_normalisations_and_its_numbers_of_parameters() -> None:
    # Given the table, then it has all nets
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in LINES]
    assert sorted(name.strip("`") for name, *_ in rows) == sorted(NETS)
    for cell, _, norms, *numbers in rows:
        # And of each what it says of itself
        name = cell.strip("`")
        assert [norm for norm in NORMS if f":{norm}" in norms] == (list(NORMS) if name in FORMS else [])
        assert numbers == [
            counted(name, *column) if number else "" for column, number in zip(COLUMNS, numbers, strict=True)
        ]
        assert all(numbers[:2])
