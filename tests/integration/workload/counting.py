"""A workload for tests that keeps something on itself: each client says how often it has trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pulled import Pulled


class Counting(Pulled):  # type: ignore[misc]  # beside this file when a client imports it, not where mypy looks
    count = 0

    def train(self, *args: Any, **kwargs: Any) -> Any:
        self.count += 1
        return replace(super().train(*args, **kwargs), metrics={"count": self.count})
