"""Refusing a run that can't go well, before anything starts: options that contradict each other, too few open files.

A resumed run's options aren't checked again, so that folders of earlier versions can be resumed.
"""

from __future__ import annotations

import resource
from collections.abc import Collection

from celeriac.aggregators import AGGREGATORS, load_aggregator, num_needed
from celeriac.mixers import load_mixer
from orchestrator.config import PEERS, RunConfig
from orchestrator.options import check_together
from tasks.errors import ConfigurationError
from verification import SCORERS
from verification.thresholds import load_threshold

OWN_FILES = 40
"""Files that a process of the orchestrator's own worker has open beside a round's updates."""


def check_open_files(config: RunConfig, most: int | None = None) -> None:
    """Check that a round's updates can be open at the same time, each of which is a file.

    Args:
        config: The run's configuration.
        most: How many open files a process may have; the system's hard limit, up to which own workers raise theirs.

    Raises:
        ConfigurationError: If they can't.
    """
    if most is None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    cohort = config.cohort_of(config.num_clients)
    needed = cohort + OWN_FILES
    if most != resource.RLIM_INFINITY and most < needed:
        raise ConfigurationError(
            f"a round of {cohort} clients needs {needed} open files, and {most} are allowed here: raise the hard limit "
            f"(ulimit -Hn {needed}, LimitNOFILE={needed}), or take fewer clients a round (--cohort)"
        )


def check_feasible(config: RunConfig, given: Collection[str]) -> None:
    """Check that the options are compatible, and that a round can have as many updates as it needs.

    Args:
        config: The run's configuration.
        given: Names of the options that the user gave; an option without effect is refused only if it was given.

    Raises:
        ConfigurationError: If not; the message names the options.
    """
    check_together(config, given)
    if config.cohort is not None and config.cohort > config.num_clients:
        raise ConfigurationError(
            f"--cohort {config.cohort}: the run starts with {config.num_clients} clients (--clients), "
            "no more than that are allowed"
        )
    if "trim" in given and config.aggregator in AGGREGATORS and config.aggregator != "trimmed_mean":
        raise ConfigurationError(f"--trim is for --aggregator trimmed_mean: {config.aggregator} cuts nothing off")
    if config.num_byzantine and not _uses_num_byzantine(config):
        raise ConfigurationError(
            f"--num-byzantine {config.num_byzantine}: nothing goes by it with --aggregator {config.aggregator} and "
            f"--verify {','.join(config.verify) or 'none'}: name another aggregator, the scorer krum or "
            "--threshold best:n-f"
        )
    if config.min_updates > config.num_clients:
        raise ConfigurationError(
            f"--min-updates {config.min_updates}: the run starts with {config.num_clients} clients (--clients), "
            "no more updates than that are allowed"
        )
    _check_needs(config)


def _uses_num_byzantine(config: RunConfig) -> bool:
    """Say whether an aggregator, a mixer, a scorer or a threshold depends on ``num_byzantine``; a user's own may."""
    if config.aggregator != "mean" or config.mix:
        return True
    return any(
        scorer not in {*SCORERS, PEERS} - {"krum"} or load_threshold(threshold).needs_num_byzantine
        for scorer, threshold in config.scorers()
    )


def _check_needs(config: RunConfig) -> None:
    """Refuse an aggregator, a mixer or a scorer that needs more updates than a round with ``--clients`` clients has."""
    size = config.cohort_of(config.num_clients)
    by = "--cohort" if config.cohort else "--fraction"
    hostile = config.num_byzantine
    needs = {}
    if config.aggregator in AGGREGATORS:  # a user's own may need what isn't installed here
        needs[f"--aggregator {config.aggregator}"] = num_needed(load_aggregator(config.aggregator), hostile)
    if config.mix[:1] == ("nnm",):
        needs["--mix nnm"] = num_needed(load_mixer("nnm"), hostile)
    for scorer, threshold in config.scorers():
        if scorer == "krum":
            needs["--verify krum"] = 2 * hostile + 3
        if load_threshold(threshold).needs_num_byzantine:
            needs[f"--threshold {threshold} of {scorer}"] = hostile + 1
    for what, needed in needs.items():
        if size < needed:
            raise ConfigurationError(
                f"{what} needs {needed} updates (--num-byzantine {hostile}), and a round takes {size} of "
                f"{config.num_clients} clients (--clients, {by})"
            )
