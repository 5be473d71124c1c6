"""The figures of the performance benchmark, kept from one session to the next, and the ratios between contenders."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.contender import Outcome
from tasks.files import replace_text

PATH = Path(__file__).parent / "results" / "performance.json"
MNIST = "mnist-cnn"
"""The one case that trains something; what counts in it is the time of all its rounds."""
REFERENCES = ("ours", "ours-virtual", "pytorch")
"""What the others are compared with: the first of these that has been run."""


@dataclass(frozen=True, slots=True)
class Run:
    """A contender's outcome in a case: of which session, and of which of its repeats, from 1.

    What was run in one repeat of one session was run one after the other, and may be compared.
    """

    session: str
    repeat: int
    outcome: Outcome


@dataclass
class Results:
    """All that is kept.

    Attributes:
        sessions: When a session began -> the machine and versions.
        cases: Case -> contender -> its runs, all of the last session in which it was run.
    """

    sessions: dict[str, dict[str, str]] = field(default_factory=dict)
    cases: dict[str, dict[str, list[Run]]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path = PATH) -> Results:
        """Return what is kept at ``path``; nothing if there is no such file."""
        if not path.exists():
            return cls()
        kept = json.loads(path.read_text(encoding="utf-8"))
        cases = {
            case: {
                name: [Run(**{**run, "outcome": Outcome(**run["outcome"])}) for run in runs]
                for name, runs in contenders["runs"].items()
            }
            for case, contenders in kept["cases"].items()
        }
        return cls(kept["sessions"], cases)

    def add(self, case: str, contender: str, run: Run) -> None:
        """Add a run; those of former sessions go."""
        runs = self.cases.setdefault(case, {}).setdefault(contender, [])
        runs[:] = [*(kept for kept in runs if kept.session == run.session), run]
        used = {kept.session for contenders in self.cases.values() for runs in contenders.values() for kept in runs}
        self.sessions = {session: machine for session, machine in self.sessions.items() if session in used}

    def save(self, path: Path = PATH) -> None:
        """Write all of it to ``path``, with the ratios."""
        cases = {
            case: {"runs": contenders, "ratios": ratios(contenders, case)} for case, contenders in self.cases.items()
        }
        path.parent.mkdir(exist_ok=True, parents=True)
        kept = {"sessions": self.sessions, "cases": cases}
        replace_text(path, json.dumps(kept, indent=1, default=asdict), durable=False)


def reference(contenders: Mapping[str, Sequence[Run]]) -> str | None:
    """Return the contender that the others of a case are compared with."""
    return next((name for name in REFERENCES if name in contenders), None)


def ratios(contenders: Mapping[str, Sequence[Run]], case: str = "") -> dict[str, float]:
    """Return each contender's time over the reference's; the median over the repeats that both completed."""
    compared = reference(contenders)
    if compared is None:
        return {}
    time_of = Outcome.total_s if case == MNIST else Outcome.median_s
    base = {(run.session, run.repeat): time_of(run.outcome) for run in contenders[compared]}
    found = {}
    for name, runs in contenders.items():
        pairs = [(time_of(run.outcome), base.get((run.session, run.repeat))) for run in runs]
        quotients = [mine / theirs for mine, theirs in pairs if mine and theirs]
        if quotients:
            found[name] = round(statistics.median(quotients), 4)
    return found
