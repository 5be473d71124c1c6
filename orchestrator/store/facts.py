"""What is noted of a run once, before its first round, so that nobody has to ask or compute it again.

Each fact is a file of its own in the run's folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from orchestrator.store.run_paths import RunPaths
from tasks.errors import RunFolderError
from tasks.files import replace_text
from tasks.metrics import Metric
from tasks.results import Result
from tasks.run_config import RunSettings
from tasks.statistics import Statistics

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fact(Generic[T]):
    """One of the facts.

    Attributes:
        file: Name of its file in the run's folder.
        kind: What it is, as JSON.
        default: What holds as long as it isn't noted; nobody changes it.
    """

    file: str
    kind: TypeAdapter[T]
    default: T

    def note(self, folder: RunPaths, value: T) -> None:
        """Keep it in a run's folder."""
        replace_text(folder.path / self.file, self.kind.dump_json(value, indent=2).decode() + "\n")

    def of(self, folder: RunPaths) -> T:
        """Return what was noted of a run, or the default.

        Raises:
            RunFolderError: If the file is damaged.
        """
        path = folder.path / self.file
        try:
            return self.kind.validate_json(path.read_bytes())
        except FileNotFoundError:
            return self.default
        except (OSError, ValidationError) as error:
            raise RunFolderError(f"{path} is damaged: {str(error).splitlines()[0]}") from None


METRICS = Fact("metrics.json", TypeAdapter(dict[str, Metric]), {})
"""What the workload declares of its metrics, in its order."""
RESULTS = Fact("results.json", TypeAdapter(dict[str, Result]), {})
"""What the workload declares of its results."""
BUFFERS = Fact("buffers.json", TypeAdapter(list[str]), [])
"""Names of the model's arrays that aren't trained."""
STATISTICS: Fact[Statistics | None] = Fact("statistics.json", TypeAdapter(Statistics | None), None)
"""What clients told of their data before the initial model was made; None where nobody was asked."""
PREPARED: Fact[RunSettings] = Fact("prepared.json", TypeAdapter(RunSettings), {})
"""Settings that the workload made of the clients' statistics."""
OWN_CODE = Fact("own-code.json", TypeAdapter(dict[str, str]), {})
"""``module:name`` of users' own code -> its file's digest; nothing in a run of an earlier version."""
