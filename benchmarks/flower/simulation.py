"""Flower's simulation: the clients of :mod:`benchmarks.flower.app` in Ray's actors, one a core.

Run as ``python -m benchmarks.flower.simulation CORES FOLDER``; Ray keeps what it writes in the folder.
"""

from __future__ import annotations

import os
import sys
import traceback

from flwr.simulation import run_simulation

from benchmarks.flower.app import client_app, server_app
from benchmarks.flower.rounds import Task


def main() -> None:
    """Carry out the rounds."""
    cores, folder = int(sys.argv[1]), sys.argv[2]
    try:
        run_simulation(
            server_app=server_app,
            client_app=client_app,
            num_supernodes=Task.of_environment().num_clients,
            backend_config={
                "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
                "init_args": {"num_cpus": cores, "log_to_driver": False, "_temp_dir": folder},
            },
        )
    except Exception:
        traceback.print_exc()
        os._exit(1)  # where Ray couldn't be started, the interpreter would wait for its threads for ever


if __name__ == "__main__":
    main()
