"""A build of whole streams: writes the parts into the tables of some builds, and finishes them.

Until then the builds are of no version that any program has: whatever ends the build before that,
nobody takes them for more than tables that have to be dropped.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Final

from projections.entities import write_lives
from projections.seam import Feed, Projection, streams_of
from projections.store import Generation, Store
from projections.whole import LocalParts, Part, Parts, StartFolding, WholeProjection

BULK_EVENTS_MIN: Final = 20_000
"""A log that is shorter is folded in its order."""
WAIT_SECONDS: Final = 0.05
"""How long a step waits for a part that is not there yet."""
HELD_MAX: Final = 100_000
"""How many rows are held back, at the most, because earlier ones may come."""

Build = tuple[WholeProjection, Generation]


def begin_bulk(
    store: Store,
    feed: Feed,
    builds: Sequence[tuple[Projection, Generation]],
    folding: StartFolding | None,
    least: int,
    unindexed_max: int,
) -> BulkBuild | None:
    """Begin to build empty tables from whole streams; None where the log is short, or cannot.

    Up to ``unindexed_max`` positions the indexes are left to the end.
    """
    streams = streams_of(feed)
    wholes: list[Build] = [
        (projection, build)
        for projection, build in builds
        if isinstance(projection, WholeProjection)
    ]
    if streams is None or not wholes or (head := feed.head()) < least:
        return None
    projections = [projection for projection, _ in wholes]
    parts: Parts | None = None
    if folding is not None:
        parts = folding([each.name for each in projections], streams.last_stream(), head)
    parts = parts or LocalParts(streams, projections, head)
    return BulkBuild(store, wholes, parts, head, indexed=head > unindexed_max)


class BulkBuild:
    """Builds some projections at once from whole streams, up to a position."""

    def __init__(
        self, store: Store, builds: Sequence[Build], parts: Parts, upto: int, *, indexed: bool
    ) -> None:
        self._store = store
        self._parts = parts
        self._upto = upto
        self._newest = (0, 0)
        self.reached = 0
        """Streams that begin up to here are built."""
        self.numbers = frozenset(build.number for _, build in builds)
        """The generations that are built."""
        self._builds = builds
        self._tables = [
            _Table(projection, name, statement)
            for projection, build in builds
            for name, statement in projection.whole_statements(build.prefix).items()
        ]
        with store.transaction():
            for projection, build in builds:
                store.begin_bulk(projection, build, indexed=indexed)

    def shown(self, generation: Generation) -> Generation:
        """Return a generation as the status shows it: a build as far as it is."""
        if generation.number not in self.numbers:
            return generation
        return generation._replace(position=self.reached)

    def step(self, feed: Feed) -> dict[int, Generation] | None:
        """Write one part, if one is there; return the builds, by number, when all is."""
        part = self._parts.take(WAIT_SECONDS)
        if part is not None:
            with self._store.transaction():
                self._write(part)
            return None
        return self._finished(feed) if self._parts.ended else None

    def close(self) -> None:
        """Stop the work of others."""
        self._parts.close()

    def _write(self, part: Part) -> None:
        store = self._store
        write_lives(store.db, part.entities)
        for table in self._tables:
            rows = table.due(part.rows[table.projection].get(table.name, ()), part.begun)
            if rows:
                store.db.executemany(table.statement, rows)
        self._newest = max(self._newest, (part.position, part.recordedtime))
        self.reached = max(self.reached, part.begun)

    def _finished(self, feed: Feed) -> dict[int, Generation]:
        store = self._store
        digest = feed.digest_at(self._upto)
        finished = {}
        with store.transaction():
            for table in self._tables:
                store.db.executemany(table.statement, table.rest())
            for _, build in self._builds:
                done = build._replace(
                    position=self._upto, digest=digest, recordedtime=self._newest[1] or None
                )
                store.advance(done)
                store.end_bulk(done)
                finished[done.number] = done
        return finished


class _Table:
    """A statement, and the rows for it that are held back until all earlier ones have come.

    Streams overlap: without that, rows would be put between those that are there already.
    """

    def __init__(self, projection: WholeProjection, name: str, statement: str) -> None:
        self.projection = projection.name
        self.name = name
        self.statement = statement
        self._ordered = name in projection.ordered
        self._held: list[tuple[Any, ...]] = []

    def due(self, rows: Sequence[tuple[Any, ...]], begun: int) -> Sequence[tuple[Any, ...]]:
        """Return the rows that can be written now: nothing before ``begun`` comes any more."""
        if not self._ordered:
            return rows
        self._held += rows
        self._held.sort(key=itemgetter(0))
        count = len(self._held)
        if count <= HELD_MAX:
            count = bisect_right(self._held, begun, key=itemgetter(0))
        due, self._held = self._held[:count], self._held[count:]
        return due

    def rest(self) -> list[tuple[Any, ...]]:
        """Return the rows that were held back."""
        rest, self._held = self._held, []
        return rest
