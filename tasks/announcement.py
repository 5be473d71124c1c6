"""What a client says of itself: its workload and how much data it has; of details only what the run goes by."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.blobs.blob import AT_BROKER
from tasks.names import ID_PATTERN
from tasks.protocol import version
from tasks.readable import Readable
from tasks.scope import is_served_by

DEFAULT_HEARTBEAT_S = 2.0
MAX_PROCESSES = 1_000
"""Processes that a worker may have."""
MAX_LABELS = 25_000
"""Labels that a client may announce."""
MAX_LABEL_LENGTH = 100
MAX_LABELS_BYTES = 2**18
"""Bytes that a client's labels may take, as JSON with the number of examples of each."""
MAX_ANNOUNCEMENT_BYTES = MAX_LABELS_BYTES + 4096
"""How long an announcement may be: reading one takes up to 40 times its length."""
Number = Annotated[int, Field(ge=0, le=10**12)]
Labels = Annotated[
    Mapping[Annotated[str, Field(max_length=MAX_LABEL_LENGTH)], Number],
    Field(max_length=MAX_LABELS),
]
"""Number of examples of each label."""


class Hardware(BaseModel):
    """What a client computes with: processors, memory in bytes, accelerator (empty: none)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_cpus: Annotated[int, Field(ge=1, le=1_000_000)]
    memory_bytes: Annotated[int, Field(ge=0, le=2**60)]
    accelerator: Annotated[str, Readable, Field(max_length=100)] = ""


UNKNOWN = Hardware(num_cpus=1, memory_bytes=0)
"""Stands for what a client doesn't tell of its hardware."""
DETAILS = ("labels", *Hardware.model_fields)
"""What a client tells only if the run goes by it and its site allows it: names of fields, of its hardware's, too."""
MAX_DETAILS = 20
Details = Annotated[tuple[Annotated[str, Field(max_length=50)], ...], Field(max_length=MAX_DETAILS)]
"""Some of ``DETAILS``; what a later version calls one is passed over."""


class Announcement(BaseModel):
    """What a client says of itself.

    ``incarnation`` is new each time its worker starts, so that the end of a former one changes nothing of the present
    one's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    client_id: Annotated[str, Field(pattern=ID_PATTERN)]
    incarnation: Annotated[str, Readable, Field(min_length=1, max_length=64)]
    workload: Annotated[str, Readable, Field(max_length=300)]
    num_examples: Number
    labels: Labels = {}
    hardware: Hardware
    heartbeat_s: Annotated[float, Field(ge=0.1, le=3600)] = DEFAULT_HEARTBEAT_S
    leaving: bool = False
    """True from the moment a worker is told to end until its last task is done: it takes no further orders."""
    shared_queue: Annotated[str, Field(pattern=r"^(clients\.[A-Za-z0-9][A-Za-z0-9_.-]{0,99})?$")] = ""
    """Queue of a worker that serves several clients, this one among them; empty: the client has one of its own."""
    blobs: Annotated[str, Readable, Field(max_length=100)] = AT_BROKER
    """Identity of the store in which the client looks for models, and puts updates."""
    protocol: Annotated[int, Field(ge=1)] = 1
    """See :mod:`tasks.protocol`; versions that said nothing spoke the first."""
    version: Annotated[str, Readable, Field(max_length=50)] = Field(default_factory=version)
    """Version of the client's celeriac."""
    num_processes: Annotated[int, Field(ge=1, le=MAX_PROCESSES)] = 1
    """Processes of the client's worker: orders that it carries out at a time."""
    most_together: Annotated[int, Field(ge=1, le=1000)] = 1
    """Orders that one message may bring to a worker that many clients share."""
    holds_out: bool = True
    """Whether the client holds examples out; one that doesn't isn't asked how good a model is."""
    num_held_out: Number = 0
    """How many it holds out; 0 where that isn't known."""
    untold: Details = ()
    """Details that no run has asked for so far; versions that said nothing tell all."""
    part: Annotated[str, Field(pattern=r"^([0-9]{1,7}/[0-9]{1,7})?$")] = ""
    """The part of a shared data set that a run granted the client, like ``0/4``, counted from 0; empty: none did."""

    @model_validator(mode="after")
    def _check_queue(self) -> Self:
        if self.shared_queue and not is_served_by(self.client_id, self.shared_queue):
            raise ValueError(f"the queue {self.shared_queue} isn't for client {self.client_id}")
        return self

    @property
    def num_parts(self) -> int:
        """Into how many parts that data set is split; 0 if no run granted the client one."""
        return int(self.part.partition("/")[2] or 0)

    def telling(self, wanted: Collection[str]) -> Announcement:
        """Return the same without those details that aren't wanted."""
        untold = tuple(name for name in DETAILS if name not in wanted)
        hardware = UNKNOWN.model_copy(update=self.hardware.model_dump(exclude=set(untold)))
        labels = {} if "labels" in untold else self.labels
        return self.model_copy(update={"labels": labels, "hardware": hardware, "untold": untold})


PassedOver = Mapping[str, tuple[Announcement, str]]
"""Client id -> what it announced, and why it takes no part."""
