"""A notebook: the example's cells, and Ctrl-C while a cell carries out a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

from tests.integration.harness import PATIENCE_S, ROOT, wait_until
from tests.integration.test_from_python import SCRIPT


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[KernelManager]:
    """A kernel in the test's folder; it ends with the test."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(tmp_path), env={**os.environ, "PYTHONPATH": str(ROOT)})
    yield manager
    manager.shutdown_kernel(now=True)


def execute(client: BlockingKernelClient, code: str) -> tuple[str, str]:
    """What a cell wrote to standard output, and the name of what it raised, if anything."""
    written: list[str] = []

    def take(message: dict[str, Any]) -> None:
        if message["content"].get("name") == "stdout":
            written.append(message["content"]["text"])

    reply = client.execute_interactive(code, timeout=PATIENCE_S, output_hook=take)
    return "".join(written), reply["content"].get("ename", "")


def test_the_examples_notebook_trains_and_shows_its_run(tmp_path: Path) -> None:
    # Given the example's notebook, when its cells are executed
    notebook = nbformat.read(ROOT / "examples" / "notebook" / "federation.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    assert all(not cell.get("outputs") for cell in notebook.cells)
    NotebookClient(notebook, timeout=PATIENCE_S, resources={"metadata": {"path": str(tmp_path)}}).execute()
    # Then they show the runs, a line a round, the table and the plot
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    said = "".join(output.text for output in outputs if output.output_type == "stream")
    shown = [output.data for output in outputs if output.output_type == "execute_result"]
    assert [line.partition(":")[0] for line in said.splitlines()] == [f"round {number}" for number in range(1, 6)]
    assert shown[0]["text/plain"].startswith("<run completed: 2 of 2 rounds, loss ")
    assert shown[1]["text/plain"].startswith("<run completed: 5 of 5 rounds, loss ")
    assert "text/html" in shown[2]
    assert "image/png" in shown[3]


def test_ctrl_c_in_a_cell_ends_the_run_and_the_next_cell_works(tmp_path: Path, kernel: KernelManager) -> None:
    # Given a cell that carries out a run
    client = kernel.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=PATIENCE_S)
    assert execute(client, SCRIPT) == ("", "")
    client.execute("federate(Mean, rounds=100000)")
    wait_until(lambda: list(tmp_path.glob("runs/*/history.jsonl")), "a round is closed", 60)
    # When the kernel is interrupted
    kernel.interrupt_kernel()
    # Then the cell ends by that
    reply = client.get_shell_msg(timeout=PATIENCE_S)
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    # And the run has ended in good order, and all that was started for it
    assert '"status": "interrupted"' in next(tmp_path.glob("runs/*/summary.json")).read_text()
    assert [each for each in psutil.process_iter() if "orchestrator.start" in _command(each, tmp_path)] == []
    # And the next cell works, with another run
    assert execute(client, "print(federate(Mean, rounds=1, show=False).status)") == ("completed\n", "")
    client.stop_channels()


def _command(process: psutil.Process, folder: Path) -> list[str]:
    try:
        return process.cmdline() if process.cwd() == str(folder) else []
    except psutil.Error:
        return []
