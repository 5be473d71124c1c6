"""Opening a run: a new one, after checking all options, or resuming a stored one."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from celeriac.aggregators import AGGREGATORS
from celeriac.algorithms import check_weighting, load_algorithm, settings_of
from celeriac.compressors import load_compressor
from celeriac.mixers import load_mixer
from celeriac.selectors import load_selector
from celeriac.workloads.nets import parse_net
from celeriac.workloads.splits import load_split
from orchestrator.config import PEERS, RunConfig
from orchestrator.feasibility import check_feasible, check_open_files
from orchestrator.goal import parse_goal
from orchestrator.observers import load_observer
from orchestrator.options import flags_of
from orchestrator.own_code import check_own_code, note_own_code
from orchestrator.policies import load_policy
from orchestrator.scheduling import check_schedules
from orchestrator.store.run_folder import RunFolder
from orchestrator.trust.reaching import reach
from orchestrator.workload_options import workload_of
from tasks import arrays
from tasks.blobs.stores import check_named
from tasks.broker import connection as brokers
from tasks.broker import needs, run_lock
from tasks.broker.probe import check_broker
from tasks.errors import ArraysError, ConfigurationError, DataMissingError
from tasks.files import is_folder
from tasks.messages import TrainOptions
from tasks.plugins import check_spec
from tasks.spec import WorkloadSpec, canonical
from tasks.workload import BUILT_IN, DATA_SETS, RUNS_PROGRAMS
from verification import SCORERS

RUNS = Path("runs")
"""Parent of the run folders, unless the user names a folder."""
CHANGEABLE = ("rounds", "stop_when", "patience", "keep", "observe", "log_format")
"""Settings that may be other ones when a run is resumed."""
WITH_RESUME = ("resume", "accept_changed_code", "broker", "workload", *CHANGEABLE)
"""Options allowed when resuming a run; its stored settings hold for all else."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An opened run. No other process can work on it while ``lock`` is open."""

    config: RunConfig
    folder: RunFolder
    lock: IO[str]


def open_new(
    options: Mapping[str, Any], given: Collection[str], before_folder: Callable[[], None] = lambda: None
) -> Opened:
    """Check the options and make the folder of a new run.

    Args:
        options: All options of the command, by name.
        given: Names of the options that the user gave.
        before_folder: Called when all is checked, right before the folder is made.

    Raises:
        ConfigurationError: If an option is wrong, or two are incompatible; then no folder is made.
    """
    workload = workload_of(options, given)
    _check_names(options, workload)
    run_id = f"{datetime.now().strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    config = _config(run_id, {**options, "workload": str(workload)})
    load_policy(config.policy, config)
    check_schedules(config.schedule, config.options, config.run_config, config.rounds)
    check_feasible(config, given)
    check_open_files(config)
    _check_broker(options["broker"], run_id)
    path: Path = options["run_dir"] or RUNS / run_id
    before_folder()
    folder = RunFolder.create(path.absolute(), config)
    note_own_code(config, folder)
    return Opened(config, folder, folder.lock())


def take_up(options: Mapping[str, Any], given: Collection[str]) -> Opened:
    """Open a stored run's folder to resume it; its own settings hold, but for those in ``CHANGEABLE``.

    Args:
        options: All options of the command, by name.
        given: Names of the options that the user gave, all of them in ``WITH_RESUME``.

    Raises:
        ConfigurationError: If the folder is no run or is damaged, or the options don't suit the run.
    """
    folder = RunFolder.open(options["resume"].absolute())
    num_closed = len(folder.history())  # raises if the history is damaged, before anything starts
    config = folder.config()
    if config.local != (options["broker"] is None):
        had, needed = ("none", "leave --broker out") if config.local else ("a broker", "name it with --broker URL")
        raise ConfigurationError(f"the run in {shown_path(folder.path)} was begun with {had}: {needed}")
    _check_repeated(options["workload"] if "workload" in given else None, config, folder)
    check_own_code(config, folder, accepts_changed=options.get("accept_changed_code", False))
    changed = config.model_copy(update={name: options[name] for name in CHANGEABLE if name in given})
    if changed.rounds < num_closed:
        raise ConfigurationError(
            f"--rounds {changed.rounds}: {num_closed} rounds of the run in {shown_path(folder.path)} are over, "
            f"at least {num_closed} are allowed"
        )
    for observer in changed.observe:
        load_observer(observer)
    changed.check_can_be_saved()
    parse_goal(changed.stop_when)
    check_schedules(changed.schedule, changed.options, changed.run_config, changed.rounds)
    folder.check_checkpoint()
    check_open_files(changed)
    _check_broker(options["broker"], config.run_id)
    lock = folder.lock()
    if changed == config:
        return Opened(config, folder, lock)
    return Opened(changed, folder, folder.replace_config(changed, lock))


def _check_repeated(workload: str | None, config: RunConfig, folder: RunFolder) -> None:
    """Check that the workload which was given, if one was, is the stored run's. Programs have to be given again.

    A folder may have come from somebody else, who is not to say which programs are run here.

    Raises:
        ConfigurationError: If it isn't, or is needed.
    """
    path = shown_path(folder.path)
    if workload is not None and canonical(workload) != config.workload:
        raise ConfigurationError(f"--workload {workload}: the run in {path} trains {config.workload!r}, leave it out")
    if workload is None and runs_programs(config.workload):
        raise ConfigurationError(
            f"the run in {path} runs programs: repeat them if they are to be run here, "
            f"--workload {shlex.quote(config.workload)}"
        )


def runs_programs(workload: str) -> bool:
    """Say whether a workload's spec names programs to be run."""
    return WorkloadSpec.parse(workload).name in RUNS_PROGRAMS


def shown_path(path: Path) -> str:
    """Return a path as it is shortest from here."""
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else str(path)


def discard(folder: RunFolder) -> None:
    """Remove the folder of a run that was refused before its first round, and the parent ``RUNS`` if that is empty."""
    shutil.rmtree(folder.path, ignore_errors=True)
    if folder.path.parent == RUNS.absolute():
        with suppress(OSError):
            folder.path.parent.rmdir()


def _check_names(options: Mapping[str, Any], workload: WorkloadSpec) -> None:
    """Check that everything named by an option exists, without slow imports."""
    check_spec("workload", workload.name, BUILT_IN)
    if workload.name in DATA_SETS:
        parse_net(workload.parameters.get("net", "cnn"))
        load_split(workload.parameters.get("split", "iid"))
    algorithm = load_algorithm(options["algorithm"])
    settings_of(algorithm, options["settings"])
    check_weighting(algorithm, options["weighting"])
    load_compressor(options["compression"])
    check_spec("aggregator", options["aggregator"], AGGREGATORS)
    for mixer in options["mix"]:
        load_mixer(mixer)
    load_selector(options["select"])
    for observer in options["observe"]:
        load_observer(observer)
    for scorer in options["verify"]:
        check_spec("scorer", scorer, {**SCORERS, PEERS: PEERS})


def _config(run_id: str, options: Mapping[str, Any]) -> RunConfig:
    values = {
        **options,
        "data": _data_folder(options["data"]),
        "initial_model": _model_file(options["initial_model"]),
        "local": options["broker"] is None,
        "run_id": run_id,
    }
    if options["blobs"] is not None:
        check_named(options["blobs"])
    try:
        values["options"] = TrainOptions(**{name: options[name] for name in TrainOptions.model_fields})
        return RunConfig(**{name: values[name] for name in RunConfig.model_fields if name in values})
    except ValidationError as error:
        first = error.errors()[0]
        flag = "".join(f"{flags_of(RunConfig).get(str(name), name)}: " for name in first["loc"][-1:])
        raise ConfigurationError(f"{flag}{first['msg'].removeprefix('Value error, ')}") from None


def _check_broker(broker: str | None, run_id: str) -> None:
    """Check that the broker, if one is named, will do, evicts no keys, and has room for a run."""
    if broker is None:
        return
    url, _ = reach(broker)
    check_broker(url, needs.of_orchestrator(run_id), brokers.OUTAGE_S)
    with brokers.connect(url) as client:
        run_lock.check_free(client, run_id)
        brokers.check_keeps_all(client)


def _data_folder(folder: Path | None) -> str | None:
    if folder is None:
        return None
    if not is_folder(folder):
        raise DataMissingError(f"--data {folder}: there is no such folder")
    return str(folder.absolute())


def _model_file(file: Path | None) -> str | None:
    """Return the initial model's absolute path if the file can be read; the workload checks its arrays later."""
    if file is None:
        return None
    try:
        arrays.map_file(file)
    except (OSError, ArraysError) as error:
        raise ConfigurationError(f"--initial-model {file}: {error}") from None
    return str(file.absolute())
