"""``orchestrator.start`` whose own worker has as many processes as ``OWN_PROCESSES`` says."""

from __future__ import annotations

import os

from orchestrator.processes import workers
from orchestrator.start import main

if __name__ == "__main__":
    workers.OWN_PROCESSES = (int(os.environ["OWN_PROCESSES"]),) * 2
    main()
