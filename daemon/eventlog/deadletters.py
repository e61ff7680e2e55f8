"""Reading dead letters: as they were put aside, and what was decided about each.

What was decided is events of the stream ``deadletter/ID``, so that it is in the chain, is backed up
and is restored as they are. A decision counts for the bytes whose digest it names: after a restore
an id may belong to another letter.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Literal, NamedTuple

import apsw

from daemon.eventlog.statements import SQL
from domain.timestamps import format_timestamp

LetterState = Literal["open", "retried", "discarded"]


class LetterFilter(NamedTuple):
    """Which dead letters are asked for; None = all."""

    format: str | None = None
    origin: str | None = None
    reason: str | None = None
    state: LetterState | None = None


EVERY_LETTER: Final = LetterFilter()


@dataclass(frozen=True, slots=True)
class KeptLetter:
    """A dead letter as the log has it; times are microseconds UTC."""

    id: int
    format: str
    origin: str
    reason: str
    detail: str
    kept: bytes
    length: int
    sha256: bytes
    first_seen: int
    last_seen: int
    count: int
    state: LetterState

    @property
    def complete(self) -> bool:
        """Whether what is kept is what came: neither masked nor cut."""
        return len(self.kept) == self.length and sha256(self.kept).digest() == self.sha256

    def document(self) -> dict[str, Any]:
        """Return it as JSON; bytes that are not text are replaced."""
        return {
            "id": self.id,
            "state": self.state,
            "format": self.format,
            "origin": self.origin,
            "reason": self.reason,
            "detail": self.detail,
            "raw": self.kept.decode(errors="replace"),
            "length": self.length,
            "sha256": self.sha256.hex(),
            "first_seen": format_timestamp(self.first_seen),
            "last_seen": format_timestamp(self.last_seen),
            "count": self.count,
        }

    def whole_document(self) -> dict[str, Any]:
        """Return it as JSON with every kept byte: as text, or in base64 where it is not UTF-8."""
        try:
            encoding, text = "text", self.kept.decode()
        except UnicodeDecodeError:
            encoding, text = "base64", b64encode(self.kept).decode()
        return {**self.document(), "raw": text, "encoding": encoding, "complete": self.complete}


def letters_after(
    db: apsw.Connection, after: int, wanted: LetterFilter, limit: int, bytes_max: int
) -> list[KeptLetter]:
    """Return letters after an id, the oldest first, up to the one that reaches ``bytes_max``."""
    letters: list[KeptLetter] = []
    size = 0
    for row in db.execute(SQL["list_dead_letters"], (after, *wanted, limit)):
        letters.append(KeptLetter(*row))
        size += len(letters[-1].kept)
        if size >= bytes_max:
            break
    return letters


def find_letter(db: apsw.Connection, letter_id: int) -> KeptLetter | None:
    """Return a letter, None where there is none of this id."""
    found = letters_after(db, letter_id - 1, EVERY_LETTER, 1, 1)
    return found[0] if found and found[0].id == letter_id else None
