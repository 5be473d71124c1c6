"""A run's configuration: checked once, saved with the run, never changed after."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from orchestrator.aggregators import AGGREGATORS
from orchestrator.selectors.selector import clients_needed, cohort_size
from tasks.messages import TrainOptions
from tasks.names import ID_PATTERN
from verification.thresholds import (
    DEFAULT_THRESHOLDS,
    check_threshold,
    default_threshold,
    load_threshold,
)

PEERS = "peers"
"""The scorer that asks the clients; the others are asked of the orchestrator."""

_SCALING = ("fednova", "qfedavg")


class RunConfig(BaseModel):
    """Everything that a run's result depends on, and how it is carried out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: Annotated[str, Field(pattern=ID_PATTERN)]
    """Name of the run; unique among the runs on one broker."""
    local: bool = True
    """Whether server and clients are started with the run; else it uses a broker that is there."""
    workload: str = "digits"
    """Spec of the workload, ``NAME[,KEY=VALUE...]``, in the one way to write it: see :mod:`tasks.spec`."""
    data: str | None = None
    """Folder with the workload's data for the orchestrator's evaluation; None for what the workload brings along."""
    algorithm: str = "fedavg"
    """Built-in algorithm or ``module:name``."""
    settings: dict[str, float] = {}
    """The algorithm's own hyperparameters, where they aren't its defaults."""
    aggregator: str = "mean"
    """Built-in aggregator or ``module:function``."""
    mix: tuple[str, ...] = ()
    """How updates are mixed before they are aggregated, step by step: ``NAME[:PARAMETER]`` of a built-in mixer, or
    ``module:function``."""
    trim: Annotated[float, Field(ge=0, lt=0.5)] = 0.2
    """Share of the values that ``trimmed_mean`` cuts off at each end; of seven updates 0.2 is one."""
    compression: str = "none"
    """How models and updates travel: ``NAME[:PARAMETER]`` of a built-in compression, or ``module:name[:PARAMETER]``."""
    select: str = "random"
    """Built-in selector or ``module:name``."""
    num_clients: Annotated[int, Field(ge=1)] = 2
    """Clients to wait for before the first round."""
    rounds: Annotated[int, Field(ge=1)] = 10
    """Rounds of the run."""
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the connected clients that a round's cohort takes, rounded up."""
    cohort: Annotated[int, Field(ge=1)] | None = None
    """Clients that a round's cohort has, whoever is connected: it waits for as many. None: it goes by ``fraction``."""
    min_updates: Annotated[int, Field(ge=1)] = 1
    """Accepted updates that a round needs; with fewer the model stays as it was."""
    accept: Literal["live", "next", "closed"] = "live"
    """Whether a client that joins later takes part at once in the round that is open, from the next on, or never."""
    weighting: Literal["examples", "steps"] = "examples"
    """How partial work counts: see :mod:`orchestrator.weighting`."""
    verify: tuple[str, ...] = ()
    """Scorers that judge each update before it is aggregated: built-in names, or ``module:function``."""
    threshold: tuple[str, ...] = ()
    """A threshold for each scorer, or one for all; none: each scorer's default."""
    num_hostile: Annotated[int, Field(ge=0)] = 0
    """How many clients of a cohort may be hostile, for the scorers, mixers and aggregators that want to know.

    0 says nothing to a mixer or an aggregator: it stands as many as it can.
    """
    options: TrainOptions = TrainOptions()
    """How clients train."""
    seed: int = 0
    """Seed of all that is random."""
    initial_model: str | None = None
    """File with the model that the first round starts from; None: the workload's own."""
    wait_timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 120.0
    """Seconds to wait for enough clients."""
    timeout_s: Annotated[float, Field(gt=0, le=12 * 3600, allow_inf_nan=False)] = 3600.0
    """Seconds that a client may train in one round."""
    in_flight_mb: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 64.0
    """Updates that may be on their way through the broker at a time, in MB; two may in any case."""
    evaluate_every: Annotated[int, Field(ge=1)] = 1
    """Every how many rounds the orchestrator evaluates the model; the last round's it does in any case."""
    evaluate_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the held-out examples that it evaluates the model on."""
    evaluate_clients: bool = True
    """Whether clients evaluate the final model on their own held-out data."""
    reconnect_after_s: Annotated[float, Field(ge=0, le=7 * 24 * 3600)] = 0.0
    """Seconds after the run's end at which clients come back; 0: their workers end."""
    max_failed_rounds: Annotated[int, Field(ge=1)] = 3
    """Failed rounds in a row after which the run stops."""

    @property
    def asks_peers(self) -> bool:
        """Whether clients score each other's updates."""
        return PEERS in self.verify

    def cohort_of(self, num_connected: int) -> int:
        """Return how many of so many connected clients a round's cohort takes; with ``cohort`` always as many."""
        return self.cohort or cohort_size(self.fraction, num_connected)

    def clients_to_wait_for(self) -> int:
        """Return the least number of connected clients that a round can have its cohort of."""
        return self.cohort or clients_needed(self.fraction, self.min_updates)

    def scorers(self) -> list[tuple[str, str]]:
        """Return each scorer with its threshold as it is written."""
        if not self.threshold:
            return [(scorer, DEFAULT_THRESHOLDS.get(scorer, "")) for scorer in self.verify]
        texts = self.threshold * len(self.verify) if len(self.threshold) == 1 else self.threshold
        return list(zip(self.verify, texts, strict=True))

    @model_validator(mode="after")
    def _check_scorers(self) -> Self:
        """Refuse thresholds that are not one for all or one for each scorer, or make no sense for it."""
        if len(self.threshold) not in (0, 1, len(self.verify)):
            raise ValueError(
                f"{len(self.threshold)} thresholds (--threshold) for {len(self.verify)} scorers (--verify): "
                "give one for all, or one for each"
            )
        for scorer, text in self.scorers():
            threshold = load_threshold(text) if text else default_threshold(scorer)
            check_threshold(scorer, threshold)
            if threshold.needs_num_hostile and not self.num_hostile:
                raise ValueError(
                    f"scorer {scorer!r} with threshold {str(threshold)!r} drops as many updates as may be hostile: "
                    "--num-hostile is 0, at least 1 is allowed"
                )
            if scorer == PEERS and threshold.needs_global:
                raise ValueError("peers score updates alone: a threshold relative to the global model is not for them")
        return self

    @model_validator(mode="after")
    def _check_weighting(self) -> Self:
        """Refuse to scale what a robust aggregator, or mixing, bounded by what clients claim."""
        is_robust = self.aggregator in AGGREGATORS and self.aggregator != "mean"
        option = f"--mix {','.join(self.mix)}" if self.mix else f"--aggregator {self.aggregator}"
        if self.weighting == "steps" and (is_robust or self.mix):
            raise ValueError(f"--weighting steps normalises a mean: with {option} only examples is allowed")
        if self.algorithm in _SCALING and (is_robust or self.mix):
            raise ValueError(f"{self.algorithm} scales the mean by what clients claim: {option} isn't for it")
        return self

    @model_validator(mode="after")
    def _check_cohort(self) -> Self:
        """Refuse a run none of whose rounds can have enough updates."""
        num_clients = max(self.num_clients, self.min_updates)
        size = self.cohort_of(num_clients)
        if size < self.min_updates:
            by = f"--fraction {self.fraction:g}" if self.cohort is None else f"--cohort {self.cohort}"
            raise ValueError(
                f"a round takes {size} of {num_clients} clients ({by}) and needs "
                f"{self.min_updates} updates (--min-updates)"
            )
        return self
