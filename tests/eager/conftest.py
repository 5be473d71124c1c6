"""Fixtures of the eager tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.eager.federation import Federation


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    """Anna, bert and carl, who pull a point towards theirs."""
    return Federation(tmp_path)
