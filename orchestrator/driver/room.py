"""Whether disk and broker have room for what a run takes there, as soon as the size of its model is known."""

from __future__ import annotations

import logging
import math
import shutil

from rich.filesize import decimal

from celeriac.compressors import NONE
from orchestrator.config import RunConfig
from orchestrator.store.run_folder import RunFolder
from orchestrator.transport.uploads import slow_updates_at_a_time, updates_at_a_time
from tasks.broker.needs import NUM_CLIENT_CONNECTIONS
from tasks.described import counted
from tasks.errors import ConfigurationError

logger = logging.getLogger(__name__)


CONNECTION_BYTES = 17_000
"""What a broker keeps for a connection."""


def check_room(config: RunConfig, folder: RunFolder, last_round: int, broker_room: float | None = None) -> None:
    """Log how much checkpoints, and what travels by the broker, will take, and refuse what can't fit.

    Args:
        config: The run's configuration.
        folder: The run's folder.
        last_round: The last round that is closed.
        broker_room: Bytes that the broker has room for; None if it carries no models, or doesn't say.

    Raises:
        ConfigurationError: If there is too little room.
    """
    _check_disk(config, folder, last_round)
    if broker_room is not None:
        _check_broker(config, folder.checkpoint(last_round).stat().st_size, broker_room)


def _check_disk(config: RunConfig, folder: RunFolder, last_round: int) -> None:
    """Check that the checkpoints fit, each as long as the last with its state.

    A run that may end early isn't refused.
    """
    files = (folder.checkpoint(last_round), folder.state(last_round))
    size_bytes = sum(path.stat().st_size for path in files if path.exists())
    number = config.rounds - last_round
    if config.keeps_some:
        number = min(number, config.keep + config.keep_best + 1)
    needed, free = number * size_bytes, shutil.disk_usage(folder.path).free
    what = f"{counted(number, 'checkpoint')} of {decimal(size_bytes)} to come"
    logger.info("%s will take %s of the %s that are free", what, decimal(needed), decimal(free))
    if needed > free and not config.may_end_early:
        raise ConfigurationError(
            f"{what} take {decimal(needed)}, and {folder.path} has {decimal(free)} left: --keep N keeps those of the "
            "last N rounds alone, --run-dir names a folder on another disk"
        )


def _check_broker(config: RunConfig, model_bytes: int, room: float) -> None:
    """Check that the model fits beside the connections, and an update, if it is as long as the model.

    What is on its way at a time, on fast lines and on slow ones, may wait for room: too little of it is a warning.
    """
    cohort, in_flight = config.cohort_of(config.num_clients), config.in_flight_mb * 1e6
    fixed = model_bytes + config.num_clients * NUM_CLIENT_CONNECTIONS * CONNECTION_BYTES
    fast, slow = (
        fixed + min(cohort, number(in_flight, model_bytes)) * model_bytes
        for number in (updates_at_a_time, slow_updates_at_a_time)
    )
    left = "there is no limit (maxmemory 0)" if math.isinf(room) else f"{decimal(int(room))} are left (maxmemory)"
    what = f"model, updates on their way and connections will take up to {decimal(fast)} of the broker's memory"
    more = f", {decimal(slow)} on slow lines" if slow > fast else ""
    logger.info("%s%s; %s", what, more, left)
    least = fixed + (model_bytes if config.compression == NONE else 0)
    if least > room:
        raise ConfigurationError(
            f"a model of {decimal(model_bytes)}, an update and connections take {decimal(least)} of the broker's "
            f"memory, and {left}: raise maxmemory by {decimal(math.ceil(least - room))} or more"
        )
    if fast > room:
        logger.warning("%s, and %s: clients will wait for room; raise maxmemory, or lower --in-flight-mb", what, left)
