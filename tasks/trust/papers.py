"""What site and operator hand each other when a client enrols: files that may be seen by anyone.

A request goes from the site to the operator, and a package back. No secret is in either: the site makes its keys and
the password of its user at the broker itself, and tells the public key and the password's digest, which is all that the
broker has to know. Each file is signed by whom it is of.
"""

from __future__ import annotations

import json
import os
import stat
from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from tasks.errors import ConfigurationError
from tasks.files import is_file, replace_text
from tasks.names import check_client_id
from tasks.trust.keys import read_public
from tasks.trust.signing import NotSignedError, check_signed, signed

MAX_BYTES = 2**16
"""How long such a file may be."""
MAX_CLIENTS = 100_000
_REQUEST = ".request.json"


def _check_key(text: str) -> str:
    read_public(text)
    return text


_Id = Annotated[str, AfterValidator(check_client_id)]
_Key = Annotated[str, AfterValidator(_check_key)]
_Pem = Annotated[str, Field(max_length=20_000)]
P = TypeVar("P", bound="_Paper")


class _Paper(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    client_id: _Id
    """The client; with ``count`` what the ids of the clients of its worker begin with."""
    count: Annotated[int | None, Field(ge=1, le=MAX_CLIENTS)] = None
    """How many clients its worker serves; None: it is one, with a queue of its own."""
    key: _Key
    """The client's public key."""

    @classmethod
    def what(cls) -> str:
        """The word for it, in messages and under its signature."""
        return cls.__name__.lower()

    @property
    def named(self) -> str:
        """Whom it is of, in words."""
        return self.client_id if self.count is None else f"{self.client_id} ({self.count} clients)"

    @property
    @abstractmethod
    def signer(self) -> str:
        """The public key that signs it."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file that :meth:`save` wrote.

        Raises:
            ConfigurationError: If it isn't one, or was changed.
        """
        message, paper = _read(cls, path)
        try:
            check_signed(cls.what(), message, read_public(paper.signer))
        except NotSignedError as error:
            raise ConfigurationError(f"{path}: {error}") from None
        return paper

    def save(self, path: Path, key: Ed25519PrivateKey) -> None:
        """Write it into a file, signed with this key.

        Raises:
            ConfigurationError: If it can't be written.
        """
        text = json.dumps(signed(self.what(), self.model_dump(mode="json"), key), indent=2)
        try:
            replace_text(path, text + "\n")
        except OSError as error:
            raise ConfigurationError(f"{path}: it can't be written ({error.strerror})") from None


class Request(_Paper):
    """What a site asks the operator for. Its own key signs it."""

    password_digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 digest of the password of the client's user at the broker, in hexadecimal."""

    @property
    def signer(self) -> str:
        """The client's own key."""
        return self.key


class Package(_Paper):
    """What the operator gives a site that it lets in. The orchestrator's key signs it."""

    orchestrator: _Key
    """The orchestrator's public key."""
    broker: Annotated[str, Field(max_length=300)]
    """The broker's URL, without user and password."""
    authority: _Pem = ""
    """The certificate that the broker's is checked by; empty where the connection isn't encrypted."""
    certificate: _Pem = ""
    """The client's own, for its key, which it shows the broker; empty likewise."""
    until: AwareDatetime
    """When its enrolment ends."""

    @property
    def signer(self) -> str:
        """The orchestrator's key. Whether it is the right one is for the reader to know."""
        return self.orchestrator


def request_in(folder: Path, client_id: str) -> Path:
    """Return the file of a client's request, in a folder of such."""
    return folder / f"{client_id}{_REQUEST}"


def requests_in(folder: Path) -> list[Path]:
    """Return the requests that are in a folder, by their names; a link to another file is none."""
    return [path for path in sorted(folder.glob(f"*{_REQUEST}")) if is_file(path) and not path.is_symlink()]


def package_in(folder: Path, client_id: str) -> Path:
    """Return the file of a client's package, in a folder of such."""
    return folder / f"{client_id}.package.json"


def _read(kind: type[P], path: Path) -> tuple[Any, P]:
    if not is_file(path):
        raise ConfigurationError(f"{path}: there is no such file")
    try:
        data = _content(path)
        message = json.loads(data)
        if not isinstance(message, dict):
            raise TypeError("it is no JSON object")
        said = {name: value for name, value in message.items() if name != "signature"}
        return message, kind.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        why = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    except (OSError, ValueError, TypeError, RecursionError, ConfigurationError) as error:
        why = str(error)
    raise ConfigurationError(f"{path}: it is no {kind.what()} ({why})")


def _content(path: Path) -> bytes:
    """Return what is in a file; one by whose name there is a pipe meanwhile isn't waited for."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is no file any more")
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is longer than {MAX_BYTES} bytes")
    return data
