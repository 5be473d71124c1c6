"""A federation from Python: ``from celeriac import federate, load_model``.

The run is that of the command, by the same options, checks and files; ``federate`` opens it and has it carried out.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

from celeriac.algorithms import Algorithm
from orchestrator.federate.by_value import ByValue
from orchestrator.federate.handle import Drive, FederatedRun, Hook, load_model
from orchestrator.federate.in_processes import InProcesses
from orchestrator.federate.options import checked, former_folder, module_of, new_folder
from orchestrator.federate.showing import is_terminal, is_watched, say
from tasks.errors import ConfigurationError
from tasks.workload import Workload

__all__ = ["FederatedRun", "federate", "load_model"]

Backend = Literal["processes", "eager"]


def federate(
    workload: type[Workload] | Workload | str | None = None,
    *,
    clients: int | None = None,
    rounds: int | None = None,
    algorithm: Algorithm | str | None = None,
    run_dir: PathLike[str] | str | None = None,
    resume: PathLike[str] | str | None = None,
    accept_changed_code: bool = False,
    broker: PathLike[str] | str | None = None,
    on_round_end: Hook | None = None,
    background: bool = False,
    backend: Backend = "processes",
    show: bool | None = None,
    **options: Any,
) -> FederatedRun:
    """Carry out a run as ``python -m orchestrator.start`` does, and return it when it has ended.

    The run's processes end with this one, however it ends. Ctrl-C ends the run in good order and is raised again.

    Args:
        workload: What is trained: a class, an instance, or a name; None: ``digits``.
        clients: How many to wait for, or without ``broker`` to start here; None: 2.
        rounds: Rounds to run, with ``resume`` in all; None: 10.
        algorithm: How updates become a model: a name, or one's own; None: ``fedavg``.
        run_dir: The run's folder; None: a new one in ``runs``, or with ``backend="eager"`` one that is removed when
            the run is let go.
        resume: The folder of a run to go on with, by its own settings. What of it came from a script or a notebook is
            to be given again.
        accept_changed_code: With ``resume``, go on although the file of what is the user's own has changed since.
        broker: Redis that the clients reach, like ``redis://host:6379/0``, or the operator's folder, whose clients are
            enrolled; None: a server and clients are started here.
        on_round_end: Is told of each round once it is closed and evaluated; the run ends if it returns False, and if
            it raises, which is raised here. In the background another thread calls it.
        background: Return at once; the run goes on.
        backend: ``processes``; or ``eager``, in this process, for tests of a workload.
        show: Show the run while it goes on; None: on a terminal and in a notebook.
        options: Any other option, by the config's name: ``seed=1``, ``run_config={"hidden": 64}``. Where the command
            takes ``module:name``, an object does.

    Returns:
        The run.

    Raises:
        ConfigurationError: If an option is wrong; then nothing was started.
        FederationError: If the run failed, as the command says it.
    """
    broker = None if broker is None else os.fspath(broker)
    is_eager = _is_eager(backend, needs_processes=background or broker is not None)
    named = {"workload": workload, "clients": clients, "rounds": rounds, "algorithm": algorithm, **options}
    by_value = ByValue(module_of(Path(resume)) if resume else "")
    given = checked(named, by_value)
    if broker and by_value.objects:
        raise ConfigurationError(
            f"{', '.join(by_value.objects)}: clients of a broker are on other machines, which have nothing of this "
            "program: put it into a module that they have, too"
        )
    if accept_changed_code and not resume:
        raise ConfigurationError("accept_changed_code goes with resume: leave it out")
    path = Path(run_dir) if run_dir else _temporary(by_value) if is_eager else None
    is_shown = (is_watched() and not is_eager) if show is None else show
    is_live = is_shown and not is_eager and is_terminal()
    drive = (
        _in_this_process(by_value) if is_eager else InProcesses(broker, by_value, is_live=is_live, is_new=not resume)
    )
    with by_value.importable():
        folder = (
            former_folder(Path(resume), given, broker, by_value, accepts_changed=accept_changed_code)
            if resume
            else new_folder(given, path, broker)
        )
    hooks = [say] if is_shown and not is_live else []
    run = FederatedRun(folder, drive, [*hooks, on_round_end] if on_round_end else hooks)
    if background:
        run.begin()
    else:
        run.carry_out()
    return run


def _is_eager(backend: str, *, needs_processes: bool) -> bool:
    if backend not in get_args(Backend):
        raise ConfigurationError(f"backend = {backend!r}: one of {', '.join(get_args(Backend))} is allowed")
    if backend == "eager" and needs_processes:
        raise ConfigurationError("backend = 'eager': the run is in this process, without background or broker")
    return backend == "eager"


def _temporary(by_value: ByValue) -> Path:
    """Return the folder of a run that is removed with what the run holds."""
    parent = tempfile.mkdtemp(prefix="celeriac-")
    weakref.finalize(by_value, shutil.rmtree, parent, ignore_errors=True)
    return Path(parent, "run")


def _in_this_process(by_value: ByValue) -> Drive:
    from orchestrator.federate.in_memory import InThisProcess  # noqa: PLC0415  # it has both sides: a second to import

    return InThisProcess(by_value)
