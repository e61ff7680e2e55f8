"""How archived jobs are shown."""

from __future__ import annotations

from typing import Any

from daemon.archive.marker import Marker
from daemon.archive.reading import DOCUMENTS, ArchiveReader
from domain.errors import ChronicledError
from domain.events import RecordedEvent
from domain.job import WITH_ERROR, JobState
from domain.timestamps import format_timestamp


def with_archive(
    reader: ArchiveReader, job: dict[str, Any], marker: Marker | None
) -> dict[str, Any]:
    """Return a job with what the archive knows of it, and where that is.

    What cannot be read just now is left out, and ``note`` says why.
    """
    if marker is None:
        return job
    note = None
    try:
        job = _filled(job, reader.job(marker))
    except ChronicledError as error:
        note = error.detail
    place = {
        "location": marker.location,
        "sha256": marker.sha256,
        "events": marker.events,
        "bytes": marker.bytes,
        "files": len(marker.files),
        "note": note,
    }
    return {**job, "archive": place}


def _filled(job: dict[str, Any], state: JobState) -> dict[str, Any]:
    """Return a job with the documents that it had when it was archived, where it has none now."""
    filled = {name: getattr(state, name) for name in DOCUMENTS if job.get(name) is None}
    same = job["status"] == state.status and job.get("message") == state.message
    if job.get("error") is not None and same and state.status in WITH_ERROR:
        filled["error"] = state.error
    return {**job, **filled}


def item_document(marker: Marker, event: RecordedEvent) -> dict[str, Any]:
    """Return a job of the archive as lists show it."""
    row: Any = event.payload.get("row") or {}
    return {
        "job": marker.job,
        "kind": row.get("kind"),
        "name": row.get("name"),
        "status": row.get("status"),
        "archived": format_timestamp(event.time),
        "position": marker.position,
        "location": marker.location,
        "sha256": marker.sha256,
        "events": marker.events,
        "bytes": marker.bytes,
        "files": len(marker.files),
        "rule": marker.rule,
        "reason": marker.reason,
    }


def detail_document(marker: Marker, event: RecordedEvent, note: str | None) -> dict[str, Any]:
    """Return a job of the archive with its objects; ``note`` says why they cannot be read."""
    return {
        **item_document(marker, event),
        "object": marker.object,
        "files": [file._asdict() for file in marker.files],
        "note": note,
    }
