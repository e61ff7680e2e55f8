"""What the writer knows of the log: its head, the versions of streams, the numbers of names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import apsw

from daemon.eventlog import chain
from daemon.eventlog.statements import SQL
from domain.limits import INTEGER_MAX

NAMES_MAX: Final = 100_000
"""How many streams, types and sources are remembered, each; others are looked up again."""

Stream = tuple[int, int]
"""A stream's number and the version of its newest event."""
Names = dict[tuple[str, str], int]


Row = tuple[object, ...]

Recorded = tuple[int, int, bytes, int]
"""Where the event with a key stands (position, version), its payload's hash and its type."""


class Removed(NamedTuple):
    """A stream from which events were removed: its newest purge, as far as rows are removed.

    ``until``: what happened up to then is as good as recorded; None where there was no purge, and
    the keys say what was.
    """

    position: int
    version: int
    until: int | None


class Head(NamedTuple):
    """The newest row of the chain, and the greatest number given to a name of each kind."""

    position: int
    digest: bytes
    recordedtime: int
    given: Given


class Given(NamedTuple):
    """The greatest number given to a name of each kind."""

    stream_id: int
    type_id: int
    source_id: int


Place = tuple[int, bytes, int]
"""The newest row of the chain: its position, digest and recordedtime."""


class Mark(NamedTuple):
    """A place to go back to."""

    changes: int
    keys: int
    events: int
    others: int
    place: Place
    given: Given


@dataclass(slots=True)
class Known:
    """What the writer knows of the log; bounded."""

    head: Head
    streams: dict[tuple[str, str], Stream] = field(default_factory=dict)
    types: Names = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    removed: dict[int, Removed] = field(default_factory=dict)

    @classmethod
    def read(cls, connection: apsw.Connection, log_id: str) -> Known:
        """Read the head from the file."""
        newest = connection.execute(SQL["newest_event"]).fetchone()
        position, digest, recordedtime = newest or (0, chain.genesis(log_id), 0)
        # A log that came back as of a removed position ends with the run that it is in.
        run = connection.execute(SQL["run_before"], (INTEGER_MAX,)).fetchone()
        if run is not None and run[1] > position:
            position, digest = run[1:]
        used = connection.execute(SQL["last_used_position"]).get or 0
        numbers = [
            connection.execute(f"SELECT coalesce(max({column}), 0) FROM {table}").get
            for column, table in (
                ("stream_id", "streams"),
                ("type_id", "types"),
                ("source_id", "sources"),
            )
        ]
        return cls(Head(max(position, used), digest, recordedtime, Given(*numbers)))

    def forget(self) -> None:
        """Drop the oldest half of the names where there are too many."""
        every: tuple[dict[Any, Any], ...] = (self.streams, self.types, self.sources)
        for names in every:
            if len(names) > NAMES_MAX:
                for name in list(names)[: len(names) - NAMES_MAX // 2]:
                    del names[name]
        if len(self.removed) > len(self.streams):
            known = {stream_id for stream_id, _ in self.streams.values()}
            self.removed = {each: self.removed[each] for each in self.removed if each in known}
