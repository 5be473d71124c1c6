"""Which of a run's models are best, and whether it has reached what it was to, by the metrics that are on disk."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from orchestrator.config import RunConfig
from orchestrator.goal import parse_goal
from orchestrator.store.facts import METRICS
from orchestrator.store.records import Evaluated, RoundRecord
from orchestrator.store.run_folder import RunFolder
from tasks import arrays
from tasks.arrays import Arrays
from tasks.errors import ConfigurationError
from tasks.metrics import Declared, Metrics, digits, first_declared, in_words, metric_of

BEST = "best"
"""The round of the best model."""
ByRound = Mapping[int, Metrics]
"""Metrics by round, see :func:`metrics_by_round`, in the order of the rounds; the initial model's round is 0."""


def metrics_by_round(history: Iterable[RoundRecord], initial: Evaluated) -> dict[int, Metrics]:
    """Return the metrics of those models that were evaluated, on the clients' held-out data if there is no other."""
    found = {0: initial.metrics}
    for record in history:
        found[record.round_number] = record.metrics or ({} if initial.is_known else record.client_metrics)
    return {number: metrics for number, metrics in found.items() if metrics}


def goes_by(config: RunConfig, by_round: ByRound, declared: Declared) -> str:
    """Return the metric that says which model is best: ``--best-by``, the first declared that a model has, or the loss.

    One that training alone gives, like the epsilon that is spent, says nothing of a model.
    """
    names = {name for metrics in by_round.values() for name in metrics}
    given = {name: metric for name, metric in declared.items() if name in names}
    return config.best_by or first_declared(given) or "loss"


def best_rounds(by_round: ByRound, name: str, declared: Declared) -> list[int]:
    """Return the rounds by how good their models are, the best first, of equal ones the earlier."""
    metric = metric_of(name, declared)
    gains = {number: metric.gain(metrics[name]) for number, metrics in by_round.items() if name in metrics}
    return sorted(gains, key=lambda number: (-gains[number], number))


def why_over(config: RunConfig, by_round: ByRound, declared: Declared) -> str:
    """Return why a run is over after the last of its rounds that was evaluated; empty if it goes on."""
    last, goal = max(by_round, default=0), parse_goal(config.stop_when)
    if not last:  # the initial model ends no run
        return ""
    if goal is not None and goal.is_reached(by_round[last]):
        return f"{goal.name} is {digits(by_round[last][goal.name])} (--stop-when {goal})"
    name = goes_by(config, by_round, declared)
    best = next(iter(best_rounds(by_round, name, declared)), 0)
    if config.patience and last - best >= config.patience:
        metrics = by_round.get(best, {})
        was = in_words({name: metrics[name]}) if name in metrics else f"no {name}"
        return f"the best is round {best} with {was} (--patience {config.patience})"
    return ""


def best_of(folder: RunFolder) -> int | None:
    """Return the round of a run's best model; None if none was evaluated by the metric that says so."""
    declared = METRICS.of(folder)
    by_round = metrics_by_round(folder.history(), folder.initial())
    return next(iter(best_rounds(by_round, goes_by(folder.config(), by_round, declared), declared)), None)


def model_of(folder: RunFolder, round_number: int | str | None) -> tuple[int, Arrays]:
    """Return the number of a round and the model that it ended with, as a map of its file.

    Args:
        folder: The run's folder.
        round_number: The round; 0 for the initial model, None for the last closed round, ``BEST`` for that of the best.

    Raises:
        ConfigurationError: If there is no such round, or its model isn't kept or is damaged.
    """
    number = best_of(folder) if round_number == BEST else round_number
    if number is None and round_number == BEST:
        raise ConfigurationError(f"none of the models of the run in {folder.path} was evaluated: name a round")
    last = len(folder.history())
    wanted = last if number is None else int(number)
    config = folder.config()
    if config.keeps_some and wanted < last and not folder.checkpoint(wanted).exists():
        kept = f"--keep {config.keep}" if config.keep else f"--keep-best {config.keep_best}"
        raise ConfigurationError(f"the model after round {wanted} isn't kept: the run has {kept}")
    folder.check_checkpoint(wanted)
    return wanted, arrays.map_file(folder.checkpoint(wanted))


def prune(folder: RunFolder, kept: Collection[int], before: int) -> None:
    """Remove the checkpoints of rounds ``before`` this one but for those ``kept``, and the states beside them."""
    for path in folder.checkpoints.glob("round-*.safetensors"):
        number = path.name.removeprefix("round-").partition(".")[0]
        if number.isdecimal() and int(number) < before and int(number) not in kept:
            path.unlink(missing_ok=True)


def is_over(folder: RunFolder) -> str:
    """Return why the run in a folder is over before its last round; empty if it isn't."""
    by_round = metrics_by_round(folder.history(), folder.initial())
    return why_over(folder.config(), by_round, METRICS.of(folder))


def check_goes_by(config: RunConfig, initial: Evaluated, declared: Declared) -> None:
    """Refuse options that go by a metric which there isn't, as far as the initial model's evaluation tells.

    Raises:
        ConfigurationError: If there is one.
    """
    goal = parse_goal(config.stop_when)
    if goal is not None:
        _check_metric(f"--stop-when {goal}", goal.name, config, initial, declared)
    if not (config.patience or config.keep_best or config.best_by):
        return
    flags = {"--best-by": config.best_by, "--patience": config.patience, "--keep-best": config.keep_best}
    flag = next(f"{flag} {value}" for flag, value in flags.items() if value)
    name = goes_by(config, {0: initial.metrics}, declared)
    _check_metric(flag, name, config, initial, declared)
    if metric_of(name, declared).better == "none":
        raise ConfigurationError(
            f"{flag}: nobody says in which direction {name} is better: declare it, like "
            f'known_metrics = {{"{name}": Metric("higher")}} (docs/metrics.md)'
        )


def _check_metric(flag: str, name: str, config: RunConfig, initial: Evaluated, declared: Declared) -> None:
    """Refuse a metric that no evaluation will give. One that is declared, or fails for now, may come."""
    if not initial.is_known and config.evaluate_clients_every:
        return
    if not initial.is_known:
        raise ConfigurationError(
            f"{flag}: it goes by held-out data of the orchestrator, and workload {config.workload!r} has none: "
            "--evaluate-clients-every N goes by the clients'"
        )
    if name in initial.metrics or name in declared or f"{name} is " in initial.problem:
        return
    known = ", ".join(initial.metrics)
    raise ConfigurationError(f"{flag}: evaluate() of workload {config.workload!r} gives no {name}, but {known}")
