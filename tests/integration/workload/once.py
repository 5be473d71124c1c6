"""A workload for tests that notes in the file ``LOADS`` each time that it loads a client's data, and in which process.

As long as there is the file ``KEPT_BUSY``, training goes on, whatever becomes of its run.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from pulled import Pulled

from tasks.workload import ClientData, DataSource


class Once(Pulled):  # type: ignore[misc]  # beside this file when a client imports it, not where mypy looks
    def client_data(self, source: DataSource) -> ClientData:
        if loads := os.environ.get("LOADS"):
            with Path(loads).open("a") as file:
                file.write(f"{os.getpid()} {source.part}\n")
        return super().client_data(source)  # type: ignore[no-any-return]  # mypy knows nothing of its base

    def train(self, *args: Any, **kwargs: Any) -> Any:
        while Path(os.environ.get("KEPT_BUSY", "")).is_file():
            time.sleep(0.01)
        return super().train(*args, **kwargs)
