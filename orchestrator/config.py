"""A run's configuration: checked when made, saved with the run, then immutable."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Annotated, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

from celeriac.aggregators import AGGREGATORS
from tasks.messages import TrainOptions
from tasks.names import ID_PATTERN
from verification.thresholds import DEFAULT_THRESHOLDS, check_threshold, default_threshold, load_threshold

PEERS = "peers"
"""The scorer that runs at the clients; all others run at the orchestrator."""

_SCALING = ("fednova", "qfedavg")


class RunConfig(BaseModel):
    """All settings that a run's result depends on, and how to carry the run out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: Annotated[str, Field(pattern=ID_PATTERN)]
    """Name of the run; unique among the runs on one broker."""
    local: bool = True
    """Whether the run starts its own server and clients; else it uses an existing broker."""
    workload: str = "digits"
    """Spec of the workload, ``NAME[,KEY=VALUE...]``, in its canonical form: see :mod:`tasks.spec`."""
    data: str | None = None
    """Folder with the workload's data for the orchestrator's evaluation; None for data that comes with the workload."""
    algorithm: str = "fedavg"
    """Built-in algorithm or ``module:name``."""
    settings: dict[str, float] = {}
    """The algorithm's own hyperparameters, where they differ from its defaults."""
    aggregator: str = "mean"
    """Built-in aggregator or ``module:function``."""
    mix: tuple[str, ...] = ()
    """Mixers to apply in turn before aggregation: ``NAME[:PARAMETER]`` of a built-in mixer, or ``module:function``."""
    trim: Annotated[float, Field(ge=0, lt=0.5)] = 0.2
    """Share of the values that ``trimmed_mean`` cuts off at each end, rounded down; 0.2 of seven updates is one."""
    compression: str = "none"
    """Compression of models and updates: ``NAME[:PARAMETER]`` of a built-in one, or ``module:name[:PARAMETER]``."""
    select: str = "random"
    """Built-in selector or ``module:name``."""
    num_clients: Annotated[int, Field(ge=1)] = 2
    """Clients to wait for before the first round."""
    rounds: Annotated[int, Field(ge=1)] = 10
    """Rounds of the run."""
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the connected clients in a round's cohort, rounded up."""
    cohort: Annotated[int, Field(ge=1)] | None = None
    """Number of clients in a round's cohort; the round waits until as many are connected. None: use ``fraction``."""
    min_updates: Annotated[int, Field(ge=1)] = 1
    """Accepted updates that a round needs; with fewer the model stays as it was."""
    accept: Literal["live", "next", "closed"] = "live"
    """Whether a client that joins later takes part in the open round, from the next round on, or never."""
    weighting: Literal["examples", "steps"] = "examples"
    """How partial work counts: by its examples alone, or normalised by its steps as FedNova does."""
    verify: tuple[str, ...] = ()
    """Scorers that judge each update before aggregation: built-in names, or ``module:function``."""
    threshold: tuple[str, ...] = ()
    """A threshold for each scorer, or one for all; empty: each scorer's default."""
    num_byzantine: Annotated[int, Field(ge=0, validation_alias=AliasChoices("num_byzantine", "num_hostile"))] = 0
    """How many clients of a cohort may be hostile, for scorers, mixers and aggregators; once called ``num_hostile``.

    With 0, a mixer or an aggregator tolerates as many as it can.
    """
    options: TrainOptions = TrainOptions()
    """How clients train."""
    seed: int = 0
    """Seed of all randomness."""
    initial_model: str | None = None
    """File with the model that the first round starts from; None: the workload's own."""
    wait_timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 120.0
    """Seconds to wait for enough clients."""
    timeout_s: Annotated[float, Field(gt=0, le=12 * 3600, allow_inf_nan=False)] = 3600.0
    """Seconds that a client may train in one round."""
    in_flight_mb: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 64.0
    """Most MB of updates in the broker at a time; two updates are always allowed."""
    evaluate_every: Annotated[int, Field(ge=1)] = 1
    """The orchestrator evaluates the model after every so many rounds, and always after the last."""
    evaluate_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the held-out examples that the orchestrator evaluates the model on."""
    evaluate_clients: bool = True
    """Whether clients evaluate the final model on their own held-out data."""
    reconnect_after_s: Annotated[float, Field(ge=0, le=7 * 24 * 3600)] = 0.0
    """Seconds after the run's end when clients reconnect; 0: their workers end."""
    max_failed_rounds: Annotated[int, Field(ge=1)] = 3
    """Failed rounds in a row after which the run stops."""

    @property
    def asks_peers(self) -> bool:
        """Whether clients score each other's updates."""
        return PEERS in self.verify

    def cohort_of(self, num_connected: int) -> int:
        """Return the size of a round's cohort with ``num_connected`` clients; with ``cohort`` it is constant."""
        return self.cohort or cohort_size(self.fraction, num_connected)

    def clients_to_wait_for(self) -> int:
        """Return the least number of connected clients with which a round can begin."""
        return self.cohort or clients_needed(self.fraction, self.min_updates)

    def scorers(self) -> list[tuple[str, str]]:
        """Return each scorer with its threshold as text."""
        if not self.threshold:
            return [(scorer, DEFAULT_THRESHOLDS.get(scorer, "")) for scorer in self.verify]
        texts = self.threshold * len(self.verify) if len(self.threshold) == 1 else self.threshold
        return list(zip(self.verify, texts, strict=True))

    @model_validator(mode="after")
    def _check_scorers(self) -> Self:
        """Refuse a wrong number of thresholds, or one that doesn't suit its scorer."""
        if len(self.threshold) not in (0, 1, len(self.verify)):
            raise ValueError(
                f"{len(self.threshold)} thresholds (--threshold) for {len(self.verify)} scorers (--verify): "
                "give one for all, or one for each"
            )
        for scorer, text in self.scorers():
            threshold = load_threshold(text) if text else default_threshold(scorer)
            check_threshold(scorer, threshold)
            if threshold.needs_num_byzantine and not self.num_byzantine:
                raise ValueError(
                    f"scorer {scorer!r} with threshold {str(threshold)!r} drops as many updates as may be hostile: "
                    "--num-byzantine is 0, at least 1 is allowed"
                )
            if scorer == PEERS and threshold.needs_global:
                raise ValueError("peers score updates alone: a threshold relative to the global model is not for them")
        return self

    @model_validator(mode="after")
    def _check_weighting(self) -> Self:
        """Refuse to combine a robust aggregator or mixing with scaling, which goes by clients' claims."""
        is_robust = self.aggregator in AGGREGATORS and self.aggregator != "mean"
        option = f"--mix {','.join(self.mix)}" if self.mix else f"--aggregator {self.aggregator}"
        if self.weighting == "steps" and (is_robust or self.mix):
            raise ValueError(f"--weighting steps normalises a mean: with {option} only examples is allowed")
        if self.algorithm in _SCALING and (is_robust or self.mix):
            raise ValueError(f"{self.algorithm} scales the mean by what clients claim: {option} isn't for it")
        return self

    @model_validator(mode="after")
    def _check_cohort(self) -> Self:
        """Refuse a run whose rounds can't have enough updates."""
        num_clients = max(self.num_clients, self.min_updates)
        size = self.cohort_of(num_clients)
        if size < self.min_updates:
            by = f"--fraction {self.fraction:g}" if self.cohort is None else f"--cohort {self.cohort}"
            raise ValueError(
                f"a round takes {size} of {num_clients} clients ({by}) and needs "
                f"{self.min_updates} updates (--min-updates)"
            )
        return self


def cohort_size(fraction: float, num_connected: int) -> int:
    """Return ``ceil(fraction * num_connected)``, taking ``fraction`` as the decimal number that it is written as."""
    return math.ceil(Fraction(str(fraction)) * num_connected)


def clients_needed(fraction: float, size: int) -> int:
    """Return the least number of connected clients for which ``fraction`` gives a cohort of at least ``size``."""
    return math.floor((size - 1) / Fraction(str(fraction))) + 1
