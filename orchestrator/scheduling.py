"""What options of training, and settings of the study's own, are in a round, where a schedule says so."""

from __future__ import annotations

import math
from collections.abc import Mapping

from celeriac.schedules import load_schedule
from tasks.errors import ConfigurationError, MessageError
from tasks.messages import TrainOptions, decode
from tasks.plugins import near_name
from tasks.run_config import RunSettings
from tasks.user_code import UserCodeError, user_code


def values_in_round(
    schedules: Mapping[str, str], options: TrainOptions, run_config: RunSettings, round_number: int, num_rounds: int
) -> tuple[TrainOptions, RunSettings]:
    """Return the options and settings of a round.

    Args:
        schedules: The schedule of each option or setting that has one.
        options: How clients train where no schedule says otherwise.
        run_config: The study's own settings, likewise.
        round_number: The round, from 1.
        num_rounds: Rounds of the run.

    Raises:
        ConfigurationError: If a schedule can't be loaded, is of something that there isn't, or gives a value that isn't
            allowed.
    """
    changed_options, changed_settings = options.model_dump(), dict(run_config)
    for name, spec in schedules.items():
        value = _value(name, spec, round_number, num_rounds)
        numbers = [key for key, setting in run_config.items() if type(setting) in (int, float)]
        if name in changed_options:
            changed_options[name] = round(value) if isinstance(changed_options[name], int) else value
        elif name in numbers:
            stays_whole = isinstance(run_config[name], int) and value.is_integer()
            changed_settings[name] = int(value) if stays_whole else value
        else:
            hint = near_name(name, [*changed_options, *numbers])
            raise ConfigurationError(
                f"--schedule {name}: there is no such option, and no such number in --run-config; {hint}"
            )
    try:
        return decode(TrainOptions, changed_options), changed_settings
    except MessageError as error:
        raise ConfigurationError(f"--schedule, in round {round_number}: {error}") from None


def check_schedules(
    schedules: Mapping[str, str], options: TrainOptions, run_config: RunSettings, num_rounds: int
) -> None:
    """Check what schedules give in each round of a run.

    Raises:
        ConfigurationError: If it isn't allowed.
    """
    for round_number in range(1, num_rounds + 1 if schedules else 1):
        values_in_round(schedules, options, run_config, round_number, num_rounds)


def _value(name: str, spec: str, round_number: int, num_rounds: int) -> float:
    schedule = load_schedule(spec)
    what = f"--schedule {name}={spec}, in round {round_number} of {num_rounds}"
    try:
        with user_code(what):
            value: object = schedule(round_number, num_rounds)
    except UserCodeError as error:
        raise ConfigurationError(str(error)) from error
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigurationError(
            f"{what}: it gives {value if isinstance(value, float) else type(value).__name__}, not a number"
        )
    return float(value)
