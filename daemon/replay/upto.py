"""The log up to a position, as projections read it: what a replay to that position is built of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from domain.epochs import LostStretch
from domain.events import RecordedEvent
from projections.seam import Feed, StreamFeed, streams_of


@dataclass
class LogUpto:
    """A feed that ends at a position; ``events`` counts what was read of it."""

    log: Feed
    end: int = 0
    events: int = 0

    @property
    def log_id(self) -> str:
        """Which log this is."""
        return self.log.log_id

    @property
    def epoch(self) -> int:
        """The epoch of the log."""
        return self.log.epoch

    @property
    def streams(self) -> StreamFeed | None:
        """The log as whole streams; who reads them says up to where."""
        return streams_of(self.log)

    def head(self) -> int:
        """Return where the replay ends."""
        return self.end

    def read(self, after: int, limit: int) -> Sequence[RecordedEvent]:
        """Return events after a position, up to the end."""
        limit = min(limit, self.end - after)
        if limit <= 0:
            return []
        events = [event for event in self.log.read(after, limit) if event.position <= self.end]
        self.events += len(events)
        return events

    def read_stream(
        self, stream: str, *, after_version: int = 0, upto: int | None = None, limit: int = 1000
    ) -> Sequence[RecordedEvent]:
        """Return events of one stream, up to the end."""
        upto = self.end if upto is None else min(upto, self.end)
        return self.log.read_stream(stream, after_version=after_version, upto=upto, limit=limit)

    def digest_at(self, position: int) -> bytes | None:
        """Return the log's digest as of a position."""
        return self.log.digest_at(position)

    def lost_stretches(self) -> Sequence[LostStretch]:
        """Return the stretches of positions that epochs left empty, the oldest first."""
        return self.log.lost_stretches()
