"""How long clients have for their orders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.driver.collector import GRACE_S
from orchestrator.driver.orders import time_limits
from tests.orchestrator.driver.contexts import Clients


@pytest.mark.parametrize("others_s", [0.0, 70.0])
def test_orders_of_other_runs_may_come_before_a_runs_own(tmp_path: Path, others_s: float) -> None:
    # Given clients with workers of their own, and other runs whose orders may take so long
    context = Clients(("anna", "bert")).context(tmp_path)
    context = replace(context, services=replace(context.services, others_s=lambda: others_s))
    # When orders go out at the time 0, then each has its timeout whole, and all is over later by that much
    limits = time_limits(context, 10.0, ["anna", "bert"])
    assert (limits.timeout_s, limits.deadline, limits.total_s) == (10.0, 10.0 + others_s, 10.0 + GRACE_S + others_s)
