"""A log and views at rest: what answers where nothing is appended, now or up to a position."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from daemon.eventlog.log_file import LogFile
from daemon.eventlog.reader import PAGE_BYTES
from daemon.eventlog.requests import EventPage, EventQuery, LogHealth, WriterBounds
from domain.errors import ReadOnly
from domain.events import RecordedEvent
from projections.progress import Projector
from projections.registry import PROJECTIONS
from projections.seam import ProjectionStatus
from projections.views import Views


class RestingLog(LogFile):
    """A log to which nothing is appended and from which nothing comes.

    With ``upto`` it is as it was when that was its newest position.
    """

    def __init__(self, path: Path, upto: int | None = None, *, skip_unknown: bool = False) -> None:
        super().__init__(path, skip_unknown=skip_unknown)
        self.upto = upto
        self.health = LogHealth()
        self.writer = self
        self.bounds = WriterBounds()
        self.queued_events = 0

    def head(self) -> int:
        """Return the newest position."""
        head = super().head()
        return head if self.upto is None else min(self.upto, head)

    def read(self, after: int, limit: int) -> list[RecordedEvent]:
        """Return events after a position, oldest first."""
        events = super().read(after, limit)
        if self.upto is None:
            return events
        return [event for event in events if event.position <= self.upto]

    def read_stream(
        self, stream: str, *, after_version: int = 0, upto: int | None = None, limit: int = 1000
    ) -> list[RecordedEvent]:
        """Return events of one stream after a version, up to a position."""
        ends = [end for end in (upto, self.upto) if end is not None]
        upto = min(ends, default=None)
        return super().read_stream(stream, after_version=after_version, upto=upto, limit=limit)

    def select(self, query: EventQuery, limit: int, bytes_max: int = PAGE_BYTES) -> EventPage:
        """Return one page of the events that match a query."""
        if self.upto is None:
            return super().select(query, limit, bytes_max)
        end = self.upto + 1
        query = replace(query, before=end if query.before is None else min(query.before, end))
        page = super().select(query, limit, bytes_max)
        return replace(page, as_of=min(page.as_of, self.upto))

    def position_at(self, moment: int) -> int:
        """Return the last position recorded at or before a moment."""
        return min(super().position_at(moment), self.head())

    def ping(self, done: Callable[[], None]) -> None:
        """Say at once that all is well."""
        done()

    def on_commit(self, _callback: Callable[[int], None]) -> Callable[[], None]:
        """Accept who wants to know of commits; there are none."""
        return lambda: None

    def on_group_end(self, _callback: Callable[[], None]) -> None:
        """Accept who wants to know when groups end; there are none."""

    def observe_groups(self, _observer: Callable[..., None]) -> None:
        """Accept who wants to measure commits; there are none."""


class RestingProjector(Projector):
    """Stands for the projector where nothing brings the views on."""

    def __init__(self, views: Views) -> None:
        super().__init__(projection.name for projection in PROJECTIONS)
        self._views = views
        self._caught_up = True

    def status(self) -> list[ProjectionStatus]:
        """Return how each projection stands, as the file tells it."""
        return self._views.status()

    def wait_for(
        self,
        position: int,
        timeout_seconds: float,  # noqa: ARG002  there is nothing to wait for
        names: Iterable[str] | None = None,
    ) -> bool:
        """Return whether the views know a position."""
        wanted = self._names if names is None else frozenset(names)
        return all(each.position >= position for each in self.status() if each.name in wanted)

    def wake(self) -> None:
        """Nothing comes."""

    def request_rebuild(self, name: str | None = None) -> None:
        """Refuse: nothing is built here."""
        raise ReadOnly(f"{name or 'Nothing'} cannot be rebuilt here.")

    def distrust(self) -> None:
        """Leave the file alone."""

    def close(self) -> None:
        """Nothing is at work."""
