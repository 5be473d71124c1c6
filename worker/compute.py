"""What this client computes with, and how many threads it may use."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys

from tasks.announcement import Hardware
from tasks.cores import num_cores
from tasks.limits import memory_limit_bytes


def hardware() -> Hardware:
    """Return this machine's processors, memory and accelerator, as far as this process may use them."""
    return Hardware(num_cpus=num_cores(), memory_bytes=memory_bytes(), accelerator=_accelerator())


def memory_bytes() -> int:
    """Return how much memory this process may use."""
    installed_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(installed_bytes, memory_limit_bytes() or installed_bytes)


def use_one_thread() -> None:
    """Keep torch to one thread: beside other processes that train, and where one forks, which threads don't survive."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


def warm_up() -> None:
    """Import what torch imports at an optimiser's first step: seconds that would be of the first order's time."""
    if "torch" in sys.modules:
        with contextlib.suppress(ImportError):
            importlib.import_module("torch._dynamo")


def use_all_threads() -> None:
    """Give torch its threads in a process that trains: ``OMP_NUM_THREADS``, or all processors."""
    torch = sys.modules.get("torch")
    if torch is not None:
        configured = os.environ.get("OMP_NUM_THREADS", "")
        torch.set_num_threads(int(configured) if configured.isdecimal() and int(configured) else num_cores())


def _accelerator() -> str:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name(0))[:100]
    return ""
