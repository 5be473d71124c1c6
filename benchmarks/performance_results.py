"""The figures of the performance benchmark, kept from one call to the next, and the ratios between contenders."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.contender import Case, Outcome
from tasks.files import replace_text

PATH = Path(__file__).parent / "results" / "performance.json"
REFERENCES = ("ours", "ours-virtual", "ours-virtual-broker", "pytorch")
"""What the others are compared with: the first of these that has been run."""
Outcomes = Sequence[Outcome]
"""A contender's, turn by turn."""


@dataclass
class Results:
    """All that is kept: of one machine, and one commit.

    Attributes:
        machine: What it is, and the versions of what was run.
        cases: Case -> contender -> its outcomes, all of the last time that the case was run.
        units: What was measured for docs/scaling.md beside runs.
        crowd: Tables of what clients cost that are connected and not in the cohort, by their names in that page.
        began: When the first of it was run, and how busy the machine was.
        ended: When the last was.
    """

    machine: dict[str, str]
    cases: dict[Case, dict[str, list[Outcome]]] = field(default_factory=dict)
    units: dict[str, Any] = field(default_factory=dict)
    crowd: dict[str, str] = field(default_factory=dict)
    began: str = ""
    ended: str = ""

    @classmethod
    def load(cls, path: Path = PATH) -> Results | None:
        """Return what is kept at ``path``, or None if there is no such file."""
        if not path.exists():
            return None
        kept = json.loads(path.read_text(encoding="utf-8"))
        cases = {
            Case(**each["case"]): {
                name: [Outcome(**outcome) for outcome in outcomes] for name, outcomes in each["outcomes"].items()
            }
            for each in kept.pop("cases")
        }
        return cls(cases=cases, **kept)

    @classmethod
    def of(cls, machine: dict[str, str], now: str, path: Path = PATH) -> Results:
        """Return what is kept of this machine and commit, to be added to; of others nothing is kept."""
        kept = cls.load(path)
        return kept if kept and kept.machine == machine else cls(machine, began=now)

    def save(self, now: str, path: Path = PATH) -> None:
        """Write all of it to ``path``."""
        self.ended = now
        cases = [{"case": asdict(case), "outcomes": contenders} for case, contenders in self.cases.items()]
        path.parent.mkdir(exist_ok=True, parents=True)
        kept = {**vars(self), "cases": cases}
        replace_text(path, json.dumps(kept, indent=1, default=asdict), durable=False)


def reference(contenders: Mapping[str, Outcomes]) -> str | None:
    """Return the contender that the others of a case are compared with."""
    return next((name for name in REFERENCES if name in contenders), None)


def ratios(contenders: Mapping[str, Outcomes]) -> dict[str, list[float]]:
    """Return each contender's time over the reference's, in each turn that both completed."""
    compared = reference(contenders)
    if compared is None:
        return {}
    base = [outcome.median_s() for outcome in contenders[compared]]
    return {
        name: [
            round(mine / theirs, 4)
            for mine, theirs in zip([outcome.median_s() for outcome in outcomes], base, strict=False)
            if mine and theirs
        ]
        for name, outcomes in contenders.items()
    }


def median_of(values: Sequence[float | None]) -> float | None:
    """Return the median of those that are known, or None if none is."""
    found = [value for value in values if value is not None]
    return statistics.median(found) if found else None
