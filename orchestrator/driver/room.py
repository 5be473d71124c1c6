"""Whether disk and broker have room for what a run takes there, as soon as the size of its model is known."""

from __future__ import annotations

import logging
import math
import shutil

from rich.filesize import decimal

from celeriac.compressors import load_compressor
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
    """Check that the model fits, and an update, if they travel as long as they are.

    What is on its way at a time, on fast lines and on slow ones, may wait for room: too little of it is a warning.
    Connections are told of as if no two clients shared a worker, but nothing is refused for them.
    """
    cohort, in_flight = config.cohort_of(config.num_clients), config.in_flight_mb * 1e6
    fast, slow = (
        model_bytes + min(cohort, number(in_flight, model_bytes)) * model_bytes
        for number in (updates_at_a_time, slow_updates_at_a_time)
    )
    left = "there is no limit (maxmemory 0)" if math.isinf(room) else f"{decimal(int(room))} are left (maxmemory)"
    connections = config.num_clients * NUM_CLIENT_CONNECTIONS * CONNECTION_BYTES
    what = "model, updates on their way and connections will take up to"
    more = f", {decimal(slow + connections)} on slow lines" if slow > fast else ""
    logger.info("%s %s of the broker's memory%s; %s", what, decimal(fast + connections), more, left)
    compressor, model = load_compressor(config.compression), f"a model of {decimal(model_bytes)}"
    what, least = (f"{model} takes", model_bytes) if compressor else (f"{model} and an update take", 2 * model_bytes)
    if least > room and not (compressor and compressor.also_models):
        raise ConfigurationError(
            f"{what} {decimal(least)} of the broker's memory, and {left}: raise maxmemory by "
            f"{decimal(math.ceil(least - room))} or more"
        )
    if fast > room:
        logger.warning(
            "model and updates on their way will take up to %s of the broker's memory, and %s: clients will wait for "
            "room; raise maxmemory, or lower --in-flight-mb",
            decimal(fast),
            left,
        )
