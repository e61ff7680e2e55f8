"""What comes after a marker: originals go, and objects that nothing names; then rows may go.

All of it may be done again and again: whoever was killed in between begins anew. With a backup it
waits until that has the marker: a log that came back without it would speak of what is gone.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, Final

from daemon.archive.errors import ArchiveDamaged
from daemon.archive.files import Deletion
from daemon.archive.journal import Begun
from daemon.archive.marker import ArchivedFile, Marker, find_marker, marker_of, newest_marker
from daemon.archive.parts import Parts
from daemon.eventlog.epochs import SOURCE
from daemon.eventlog.requests import EventQuery
from domain.catalog import validate_payload
from domain.events import NewEvent, RecordedEvent
from domain.lives import ARCHIVED, PURGED, is_tombstone, replaced_versions

_PAGE: Final = 20

logger = logging.getLogger(__name__)


class Finisher:
    """Deletes what a marker has made superfluous outside of the log."""

    def __init__(self, parts: Parts) -> None:
        self._log = parts.log
        self._shelf = parts.shelf
        self._files = parts.files
        self._removals = parts.removals
        self._sharing = parts.sharing
        self._shipped = parts.shipped
        self._lock = parts.lock

    def finish(self, marker: Marker, *, checked: bool = False) -> None:
        """Delete the originals of an archived job, and what is at its location beside it.

        Each original is deleted only while it is what the archive holds, and no result of another
        job needs it; with ``checked`` the objects were just read.

        Raises:
            ArchiveDamaged: the archive does not hold what is to be deleted.
            StoreUnavailable, StoreRefused: it cannot be reached.
            NotReady: the views do not know yet which results there are.
            OSError: an original cannot be read or deleted.

        """
        with self._lock:
            self._delete_originals(marker, checked=checked)
            self._clear(marker)
            self._end_purges(f"job/{marker.job}", kept=marker.location)
            self._removals.settle(f"job/{marker.job}", marker.replaces)

    def finish_if_pending(self, stream: str) -> None:
        """Do for a stream what has to go before its rows may; nothing where nothing has."""
        with self._lock:
            if any(each.stream == stream and each.outside for each in self._removals.pending()):
                self.finish_stream(stream)

    def finish_stream(self, stream: str, checked_at: int = 0) -> bool:
        """Do for a stream what has to go before its rows may; return whether it is done.

        It waits until the backup has the stream's newest marker. The objects of the one at
        ``checked_at`` were just read.
        """
        with self._lock:
            event = newest_marker(self._log, stream)
            if event is None:
                logger.warning("a removal waits for nothing", extra={"stream": stream[:200]})
                return True
            shipped = self._shipped()
            if shipped is not None and shipped < event.position:
                return False
            if marker := marker_of(event):
                self.finish(marker, checked=marker.position == checked_at)
                return True
            self._end_purges(stream)
            self._removals.settle(stream, replaced_versions(event.type, event.payload))
        return True

    def tidy(self, begun: Begun) -> None:
        """Delete what an attempt to archive a job has left, and no marker names.

        What was there before it stays: the log, or the one that a backup has, may speak of it.
        """
        with self._lock:
            marker = find_marker(self._log, begun.job)
            if marker is not None and marker.location == begun.location:
                self._clear(marker, begun.there)
            else:
                self._shelf.clear(begun.location, begun.there)

    def _clear(self, marker: Marker, there: frozenset[str] = frozenset()) -> None:
        """Delete what is at the location of a job beside what its marker names, and was there.

        Nothing while that is not all there: what is beside it may have to stand in for it.
        """
        if all(self._shelf.has(name) for name in marker.objects):
            self._shelf.clear(marker.location, marker.objects | there)
        else:
            logger.warning("objects of an archived job are missing", extra={"job": marker.job})

    def _end_purges(self, stream: str, kept: str | None = None) -> None:
        """Delete the objects of the purges of a stream, but at the location of its present life.

        The removals of a stream are asked for together, so more than one purge may have waited.
        """
        query = EventQuery(stream=stream, types=tuple(sorted(PURGED)), descending=True)
        while True:
            page = self._log.select(query, _PAGE)
            for event in page.events:
                location = event.payload.get("location")
                if location not in (None, kept) and is_tombstone(event):
                    self._purge(event, str(location))
            if page.next_after is None:
                return
            query = replace(query, before=page.next_after)

    def _purge(self, event: RecordedEvent, location: str) -> None:
        """Delete the objects of a purged job; originals first, where an archive had not come to it.

        An original whose object is not there is left alone: it was put back, or another run has
        been here. So is one of a job that has come back since: it may have been made anew.
        """
        stream = event.stream
        if not self._log.read_stream(stream, after_version=event.version, limit=1):
            query = EventQuery(stream=stream, types=(ARCHIVED,), descending=True)
            earlier = [marker_of(each) for each in self._log.select(query, _PAGE).events]
            for marker in filter(None, earlier):
                if marker.location == location:
                    self._delete_unneeded(marker)
        self._shelf.clear(location)

    def _delete_unneeded(self, marker: Marker) -> None:
        try:
            self._delete_originals(marker, checked=False)
        except ArchiveDamaged as error:
            logger.warning("an original is left", extra={"error": error.detail})

    def _delete_originals(self, marker: Marker, *, checked: bool) -> None:
        if not marker.files or self._sharing is None or self._was_restored(marker):
            return
        self._sharing.reach(marker.position)
        changed: list[NewEvent] = []
        for file in marker.files:
            if self._sharing.is_needed(file.path, marker.job, marker.position):
                continue
            if not checked:
                self._shelf.check(file.object, content=file.sha256)
            became, digest = self._files.delete(file.path, file.sha256)
            if became is Deletion.CHANGED:
                changed.append(_changed(marker, file, digest))
        if changed:
            self._log.append(changed)

    def _was_restored(self, marker: Marker) -> bool:
        """Return whether the files were put back since: they are no originals any more."""
        types = ("job.restored",)
        query = EventQuery(stream=f"job/{marker.job}", types=types, after=marker.position)
        return bool(self._log.select(query, 1).events)


def _changed(marker: Marker, file: ArchivedFile, digest: str) -> NewEvent:
    """Return the event of an original that is not what was archived any more, and is left."""
    said: dict[str, Any] = {
        "job": marker.job,
        "path": file.path,
        "sha256": digest,
        "reason": "changed after it was archived",
    }
    data = validate_payload("result.changed", said)
    id_ = f"result.changed:{marker.job}:{marker.version}"
    return NewEvent("result.changed", file.result, SOURCE, id_, data)
