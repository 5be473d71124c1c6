"""A run's configuration: checked when made, saved with the run, then immutable."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import Annotated, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

from celeriac.aggregators import AGGREGATORS
from orchestrator.goal import NEVER, parse_goal
from orchestrator.scheduling import values_in_round
from tasks.device import Device
from tasks.errors import ConfigurationError
from tasks.messages import MAX_AWAY_S, MAX_TIMEOUT_S, TrainOptions
from tasks.names import ID_PATTERN
from tasks.option import ALGORITHM, DATA, HOSTILE, OUTPUT, ROUNDS, TRANSPORT, Option
from tasks.run_config import RunSettings
from verification.thresholds import DEFAULT_THRESHOLDS, check_threshold, default_threshold, load_threshold

PEERS = "peers"
"""The scorer that runs at the clients; all others run at the orchestrator."""

_SCALING = ("fednova", "qfedavg")


class RunConfig(BaseModel):
    """All settings that a run's result depends on, and how to carry the run out.

    A field marked as an ``Option`` is one of the command line, in the order of the fields; its docstring is the help.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: Annotated[str, Field(pattern=ID_PATTERN)]
    """Name of the run; unique among the runs on one broker."""
    local: bool = True
    """Whether the run starts its own server and clients; else it uses an existing broker."""
    num_clients: Annotated[int, Field(ge=1), Option("N", flag="clients", group=ROUNDS)] = 2
    """Clients to wait for before the first round; without a broker also how many to start here."""
    # in the canonical form of tasks.spec
    workload: Annotated[str, Option("NAME[,KEY=VALUE…]", group=DATA)] = "digits"
    """What is trained: {workloads}, or your own as module:name; with parameters, if it has any."""
    data: Annotated[str | None, Option("DIR", group=DATA)] = None
    """Folder with the workload's data, for those that need one."""
    device: Annotated[Device, Option("NAME", group=DATA)] = "cpu"
    """The device that local clients train on, and models are evaluated on here: cpu, cuda, cuda:1, mps, or auto for
    the first that is there. Other clients have CLIENT_DEVICE."""
    algorithm: Annotated[str, Option("NAME", group=ALGORITHM)] = "fedavg"
    """How updates become a model: {algorithms}, or your own as module:name."""
    settings: Annotated[
        dict[str, float], Option("NAME=VALUE", flag="set", default="the algorithm's own", group=ALGORITHM)
    ] = {}
    """A hyperparameter of the algorithm, like mu=0.01 for fedprox; may be given more than once."""
    run_config: Annotated[RunSettings, Option("NAME=VALUE[,…]", default="the workload's own", group=DATA)] = {}
    """The study's own settings, which its code finds in context.run_config: momentum=0.9,hidden=[64,32],net=cnn; may be
    given more than once."""
    schedule: Annotated[dict[str, str], Option("NAME=SCHEDULE", default="none", group=ALGORITHM)] = {}
    """How an option of training (learning_rate, epochs, batch_size), or a number of --run-config, goes over the rounds:
    {schedules}, or your own as module:function; may be given more than once."""
    aggregator: Annotated[str, Option("NAME", group=HOSTILE)] = "mean"
    """How updates become one: {aggregators}, or your own as module:function. All but mean tolerate some that
    are hostile."""
    trim: Annotated[float, Field(ge=0, lt=0.5), Option("SHARE", group=HOSTILE)] = 0.2
    """Share of the values that trimmed_mean cuts off at each end, rounded down."""
    mix: Annotated[tuple[str, ...], Option("NAME[,NAME…]", default="none", group=HOSTILE)] = ()
    """How updates are mixed before they are aggregated, step by step: {mixers}, or your own as module:function. Robust
    aggregators tolerate more of what is mixed by nnm."""
    compression: Annotated[str, Option("NAME[:PARAMETER]", group=TRANSPORT)] = "none"
    """How models and updates travel: {compressors}, or your own as module:name. bf16 halves, int8 quarters both;
    topk:0.01 makes updates 1 % as long, and leaves the model as it is."""
    rounds: Annotated[int, Field(ge=1), Option("N", group=ROUNDS)] = 10
    """Rounds to run."""
    stop_when: Annotated[str, Option("METRIC>=NUMBER", group=ROUNDS)] = NEVER
    """End the run after a round whose model has this on held-out data, like 'auc>=0.98' or 'loss<=0.1'."""
    patience: Annotated[int, Field(ge=0), Option("ROUNDS", default="none", group=ROUNDS)] = 0
    """End the run when the best model is so many rounds old; see --best-by."""
    fraction: Annotated[float, Field(gt=0, le=1), Option("SHARE", group=ROUNDS)] = 1.0
    """Share of the connected clients that takes part in a round, rounded up."""
    cohort: Annotated[
        int | None, Field(ge=1), Option("N", default="by --fraction", group=ROUNDS, excludes="fraction")
    ] = None
    """How many clients take part in a round. It waits for as many, and takes in no more."""
    min_updates: Annotated[int, Field(ge=1), Option("N", group=ROUNDS)] = 1
    """Updates that a round needs; with fewer the model stays as it was."""
    select: Annotated[str, Option("NAME", group=ROUNDS)] = "random"
    """How a round's clients are chosen: {selectors}, or your own as module:function. CONDITIONS are like
    labels=3+7,min-examples=100,min-cpus=4,min-memory-gb=8."""
    policy: Annotated[str, Option("NAME", group=ROUNDS)] = "synchronous"
    """When rounds open and close: {policies}, or your own as module:name."""
    accept: Annotated[Literal["live", "next", "closed"], Option(group=ROUNDS)] = "live"
    """Whether clients that join later take part at once, from the next round on, or never."""
    verify: Annotated[tuple[str, ...], Option("NAME[,NAME…]", default="none", group=HOSTILE)] = ()
    """How updates are judged before they are aggregated: {scorers}, or your own as module:function. Malformed updates
    are always rejected."""
    threshold: Annotated[
        tuple[str, ...], Option("T[,T…]", default="each scorer's own", group=HOSTILE, needs="verify")
    ] = ()
    """The least score that is kept, for all scorers or one each: a number, global-0.05 (relative to the current
    model's), or mad:3 (no outlier by median and MAD)."""
    num_byzantine: Annotated[
        int, Field(ge=0, validation_alias=AliasChoices("num_byzantine", "num_hostile")), Option("N", group=HOSTILE)
    ] = 0
    """How many clients of a cohort may be hostile: for the scorer krum, the threshold best:n-f, and aggregators, which
    with 0 tolerate as many as they can."""
    weighting: Annotated[Literal["examples", "steps"], Option(group=ALGORITHM)] = "examples"
    """Whether an update that was cut short counts by its examples alone, or normalised by its steps (FedNova)."""
    options: TrainOptions = TrainOptions()
    """How clients train."""
    initial_model: Annotated[str | None, Option("FILE", default="the workload's own", group=DATA)] = None
    """Start from the model in this safetensors file, like a checkpoint of another run."""
    seed: Annotated[int, Option("N", group=ALGORITHM)] = 0
    """Seed of all that is random."""
    wait_timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False), Option("SECONDS", group=ROUNDS)] = 120.0
    """How long to wait for enough clients."""
    timeout_s: Annotated[
        float, Field(gt=0, le=MAX_TIMEOUT_S, allow_inf_nan=False), Option("SECONDS", capped=False, group=ROUNDS)
    ] = 3600.0
    """How long a client may train in a round; then it returns what it has."""
    in_flight_mb: Annotated[float, Field(gt=0, allow_inf_nan=False), Option("MB", group=TRANSPORT)] = 64.0
    """How much of updates may be on its way through the broker at a time, on slow lines sixteen times as much; two
    updates may in any case, on slow lines eight."""
    blobs: Annotated[str | None, Option("URL", default="the broker; without one the run's folder", group=TRANSPORT)] = (
        None
    )
    """Where models and updates are while they travel: a folder that all processes share, like file:///mnt/shared,
    or a bucket, like s3://bucket/prefix. Clients name it by CLIENT_BLOBS."""
    evaluate_every: Annotated[int, Field(ge=1), Option("ROUNDS", group=OUTPUT)] = 1
    """Evaluate the model on held-out data every so many rounds, and after the last."""
    evaluate_share: Annotated[float, Field(gt=0, le=1), Option("SHARE", group=OUTPUT)] = 1.0
    """Share of the held-out examples, drawn by the seed, to evaluate the model on."""
    best_by: Annotated[str | None, Option("METRIC", default="what the workload declares first", group=OUTPUT)] = None
    """The metric on held-out data that says which model is best; the loss, if nothing else says so."""
    keep: Annotated[int, Field(ge=0), Option("N", default="all", group=OUTPUT)] = 0
    """Keep the checkpoints of the last N rounds, beside the initial one and the best."""
    keep_best: Annotated[int, Field(ge=0), Option("N", default="all", group=OUTPUT)] = 0
    """Keep the checkpoints of the N best models, beside the initial and the last one."""
    evaluate_clients: Annotated[bool, Option(group=OUTPUT)] = True
    """Have clients evaluate the final model on their own held-out data."""
    evaluate_clients_every: Annotated[
        int | None, Field(ge=1), Option("ROUNDS", default="after the last", group=OUTPUT, needs="evaluate_clients")
    ] = None
    """Have clients evaluate the model every so many rounds, and after the last."""
    evaluate_clients_fraction: Annotated[
        float, Field(gt=0, le=1), Option("SHARE", group=OUTPUT, needs="evaluate_clients")
    ] = 1.0
    """Share of the connected clients, drawn by the seed and rounded up, that evaluates it."""
    cross_site: Annotated[bool, Option(group=OUTPUT)] = False
    """When the last round is closed, have clients evaluate each client's own last model and the global one, each on its
    own held-out data; cross-site.json has what they find. They are given each other's models for it."""
    reconnect_after_s: Annotated[float, Field(ge=0, le=MAX_AWAY_S), Option("SECONDS", capped=False, group=ROUNDS)] = 0.0
    """When the run is over clients come back after so many seconds, for the next; with 0 their workers end."""
    pool: Annotated[Literal["prefork", "solo"], Option(group=ROUNDS)] = "prefork"
    """How the clients that are started here train: in processes of a pool, or in one process for everything, where
    --timeout ends training between two steps and nothing ends what doesn't ask."""
    observe: Annotated[tuple[str, ...], Option("NAME[:PARAMETER],…", group=OUTPUT)] = ("console", "plot")
    """Who is told what happens: {observers}, or your own as module:name. Whatever is named here, log and events are
    told too."""
    log_format: Annotated[Literal["text", "json"], Option(group=OUTPUT)] = "text"
    """Log lines as text, or as JSON with run, round and client."""
    max_failed_rounds: Annotated[int, Field(ge=1)] = 3
    """Failed rounds in a row after which the run stops."""

    @property
    def asks_peers(self) -> bool:
        """Whether clients score each other's updates."""
        return PEERS in self.verify

    def in_round(self, round_number: int) -> RunConfig:
        """Return the config with the values that its schedules give in a round.

        Raises:
            ConfigurationError: If one can't be loaded, or gives what isn't allowed.
        """
        if not self.schedule:
            return self
        options, run_config = values_in_round(
            self.schedule, self.options, self.run_config, max(round_number, 1), self.rounds
        )
        return self.model_copy(update={"options": options, "run_config": run_config})

    def is_evaluated(self, round_number: int) -> bool:
        """Say whether it is a round's turn to have its model evaluated on held-out data."""
        return round_number % self.evaluate_every == 0 or round_number == self.rounds

    @property
    def may_end_early(self) -> bool:
        """Whether a model's metrics may end the run before its last round."""
        return self.stop_when.strip() != NEVER or bool(self.patience)

    @property
    def keeps_some(self) -> bool:
        """Whether checkpoints are removed as rounds are closed."""
        return bool(self.keep or self.keep_best)

    def is_evaluated_by_clients(self, round_number: int, *, is_last: bool) -> bool:
        """Say whether it is a round's turn to have clients evaluate its model."""
        is_turn = self.evaluate_clients_every is not None and round_number % self.evaluate_clients_every == 0
        return self.evaluate_clients and (is_turn or is_last)

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

    def check_can_be_saved(self) -> None:
        """Check that a file can hold the config and give it back.

        Raises:
            ConfigurationError: If it can't: a text isn't UTF-8, or a whole number has thousands of digits.
        """
        if _can_be_saved(self):
            return
        wrong = next(name for name in type(self).model_fields if not _can_be_saved(self, {name}))
        raise ConfigurationError(
            f"{wrong} has a text that isn't UTF-8, or a number of thousands of digits: config.json can't hold it"
        )

    @model_validator(mode="after")
    def _check_texts(self) -> Self:
        """Refuse what can't be saved."""
        self.check_can_be_saved()
        return self

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
    def _check_pool(self) -> Self:
        """Refuse to choose how clients train that others start."""
        if self.pool == "solo" and not self.local:
            raise ValueError("--pool solo is for clients that are started here: give it to celery -A worker worker")
        return self

    @model_validator(mode="after")
    def _check_goal(self) -> Self:
        """Refuse a goal that can't be read."""
        parse_goal(self.stop_when)
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


def _can_be_saved(config: RunConfig, fields: set[str] | None = None) -> bool:
    try:
        json.loads(config.model_dump_json(include=fields))
    except ValueError:
        return False
    return True


def cohort_size(fraction: float, num_connected: int) -> int:
    """Return ``ceil(fraction * num_connected)``, taking ``fraction`` as the decimal number that it is written as."""
    return math.ceil(Fraction(str(fraction)) * num_connected)


def clients_needed(fraction: float, size: int) -> int:
    """Return the least number of connected clients for which ``fraction`` gives a cohort of at least ``size``."""
    return math.floor((size - 1) / Fraction(str(fraction))) + 1
