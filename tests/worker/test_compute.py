"""What a client says it computes with, and how many threads torch is given."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import psutil
import pytest
import torch

from tasks.cores import num_cores
from tasks.limits import memory_limit_bytes
from worker import compute


@pytest.fixture(autouse=True)
def _own_threads() -> Iterator[None]:
    """Give torch back the threads that it had."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that hasn't imported torch."""
    monkeypatch.delitem(sys.modules, "torch")


def test_the_machine_is_told_as_the_system_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a machine without an accelerator, when a client says what it computes with
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    hardware = compute.hardware()
    # Then it has the processors and the memory that this process may use, and no accelerator
    assert hardware.num_cpus == num_cores()
    installed_bytes = psutil.virtual_memory().total
    assert hardware.memory_bytes == min(installed_bytes, memory_limit_bytes() or installed_bytes)
    assert hardware.accelerator == ""


def test_an_accelerator_is_told_by_a_name_of_bounded_length(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given torch with an accelerator, of a name that is long
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Great " * 50)
    # When a client says what it computes with, then a part of the name is enough
    assert compute.hardware().accelerator == ("Great " * 50)[:100]


def test_a_process_that_will_fork_has_one_thread_and_one_that_trains_has_all(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given no say of the user's
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    # When a process will fork, and when one trains
    compute.use_one_thread()
    in_main = torch.get_num_threads()
    compute.use_all_threads()
    # Then torch has one thread, and as many as there are processors
    assert (in_main, torch.get_num_threads()) == (1, num_cores())


@pytest.mark.parametrize(("said", "num_threads"), [("3", 3), ("0", None), ("many", None), ("", None)])
def test_a_process_that_trains_has_as_many_threads_as_its_environment_says(
    monkeypatch: pytest.MonkeyPatch, said: str, num_threads: int | None
) -> None:
    # Given a number, or what is none, when a process trains, then torch has that many threads, or all
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    compute.use_all_threads()
    assert torch.get_num_threads() == (num_threads or num_cores())


def test_a_client_without_torch_doesnt_import_it(without_torch: None) -> None:
    # Given a process without torch, when all is called that is for torch
    compute.use_one_thread()
    compute.warm_up()
    compute.use_all_threads()
    accelerator = compute.hardware().accelerator
    # Then it is without torch still
    assert accelerator == ""
    assert "torch" not in sys.modules


def test_warming_up_imports_what_a_first_step_would() -> None:
    # Given a process with torch, when it warms up, then what an optimiser's first step imports is there
    compute.warm_up()
    assert "torch._dynamo" in sys.modules
