"""Whether the disk has room for the checkpoints that a run is to keep, as soon as the size of its model is known."""

from __future__ import annotations

import logging
import shutil

from rich.filesize import decimal

from orchestrator.config import RunConfig
from orchestrator.store.run_folder import RunFolder
from tasks.described import counted
from tasks.errors import ConfigurationError

logger = logging.getLogger(__name__)


def check_room(config: RunConfig, folder: RunFolder, last_round: int) -> None:
    """Log how much the checkpoints to come will take, and refuse them if they can't fit.

    Each is taken to be as long as the last one, with its algorithm's state. A run that may end early isn't refused.

    Args:
        config: The run's configuration.
        folder: The run's folder.
        last_round: The last round that is closed.

    Raises:
        ConfigurationError: If there is too little room.
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
