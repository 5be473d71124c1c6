"""A workload's spec: its name and the parameters that it is made with, like ``mnist,net=cnn,split=dirichlet:0.1``.

The run and its clients compare specs as text, so there is one way to write each: the name first, keys in ascending
order with hyphens, no blanks but those within a value. Values are compared as they are written: ``0.1`` and ``0.10``
are two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tasks.errors import ConfigurationError

MAX_LENGTH = 300
"""Characters that a client's announcement has room for."""


@dataclass(frozen=True, slots=True)
class WorkloadSpec:
    """What is trained.

    Attributes:
        name: A built-in name or ``module:name``.
        parameters: Values by key, keys with hyphens and in ascending order.
    """

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> WorkloadSpec:
        """Read ``NAME[,KEY=VALUE...]``; blanks around names and values don't count.

        Raises:
            ConfigurationError: If ``text`` isn't of this form, or gives a key twice.
        """
        name, *pairs = (part.strip() for part in text.split(","))
        parameters: dict[str, str] = {}
        for pair in pairs:
            key, value = _key_and_value(text, pair)
            if key in parameters:
                raise ConfigurationError(f"workload {text!r}: {key} is given twice, once is allowed")
            parameters[key] = value
        spec = cls(name, dict(sorted(parameters.items())))
        if len(str(spec)) > MAX_LENGTH:
            raise ConfigurationError(
                f"workload {text!r} is over {MAX_LENGTH} characters long: at most these are allowed"
            )
        return spec

    def __str__(self) -> str:
        """Return the one way to write this spec."""
        return ",".join([self.name, *(f"{key}={value}" for key, value in self.parameters.items())])

    def with_parameter(self, key: str, value: str) -> WorkloadSpec:
        """Return the spec with one parameter more.

        Raises:
            ConfigurationError: If it has the key already, or the value can't stand in a spec.
        """
        if key in self.parameters:
            raise ConfigurationError(
                f"--{key} {value}: the workload {str(self)!r} has {key}={self.parameters[key]} already: give one"
            )
        checked_key, checked_value = _key_and_value(f"{self},{key}={value}", f"{key}={value}")
        return self.parse(f"{self},{checked_key}={checked_value}")

    def arguments(self) -> dict[str, str]:
        """Return the parameters as keyword arguments: with underscores where keys have hyphens."""
        return {key.replace("-", "_"): value for key, value in self.parameters.items()}


def canonical(text: str) -> str:
    """Return a workload's spec in the one way to write it; see :meth:`WorkloadSpec.parse`."""
    return str(WorkloadSpec.parse(text))


def _key_and_value(text: str, pair: str) -> tuple[str, str]:
    key, equals, value = (part.strip() for part in pair.partition("="))
    is_value = bool(value) and value.isprintable() and "," not in value
    if not (equals and key.replace("-", "_").isidentifier() and is_value):
        raise ConfigurationError(
            f"workload {text!r}: {pair!r} is no parameter: "
            "write NAME[,KEY=VALUE...], no comma in a value, like mnist,net=cnn"
        )
    return key.replace("_", "-"), value
