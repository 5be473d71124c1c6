"""What users import."""

from __future__ import annotations

import subprocess
import sys

import pytest

import celeriac


def test_each_name_is_there() -> None:
    # Given the names that the package says it has, when each is asked for, then it is there
    assert {"Workload", "ClientData", "TorchWorkload", "Algorithm"} <= set(dir(celeriac))
    assert all(getattr(celeriac, name) for name in dir(celeriac))


def test_a_name_that_is_not_there_is_an_error_that_names_those_that_are() -> None:
    with pytest.raises(AttributeError, match=r"celeriac has no Worklod: it has .*Workload"):
        _ = celeriac.Worklod


def test_a_workload_without_torch_imports_none() -> None:
    # Given an interpreter that imports what a workload needs that doesn't use PyTorch, then there is no PyTorch, and
    # nothing of the orchestrator
    code = "import sys; from celeriac import Workload, ClientData, Algorithm; sys.exit(len(OTHERS))"
    code = code.replace("OTHERS", "{'torch', 'orchestrator'} & {*sys.modules}")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
