"""A workload for tests: from the round ``DIES_FROM`` on, the process of the client ``DIES`` ends as it trains."""

from __future__ import annotations

import os
from typing import Any

from pulled import Pulled

from tasks.context import Context


class Dying(Pulled):  # type: ignore[misc]  # beside this file when a client imports it, not where mypy looks
    def train(self, parameters: Any, data: Any, context: Context) -> Any:
        if context.client_id == os.environ["DIES"] and context.round_number >= int(os.environ["DIES_FROM"]):
            os._exit(3)
        return super().train(parameters, data, context)
