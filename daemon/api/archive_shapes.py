"""The shapes of the answers about the archive, and their examples; see `schemas`."""

from __future__ import annotations

from typing import Any, Final

from pydantic import AwareDatetime, Field

from daemon.api.schemas import Answer, Shape
from daemon.archive.documents import detail_document, item_document
from daemon.archive.marker import Marker, marker_of
from domain.catalog import example_of
from domain.events import RecordedEvent
from domain.job import JobStatus

_TIME: Final = 1_770_185_567_000_000


class ArchivedJob(Shape):
    """A job in the archive."""

    job: str
    kind: str | None
    name: str | None
    status: JobStatus | None
    archived: AwareDatetime
    position: int = Field(description="Of the event that says so.")
    location: str = Field(description="Where its objects are, within the archive.")
    sha256: str = Field(description="Of the object with its events.")
    events: int = Field(description="How many events the object holds, those of results too.")
    bytes: int = Field(description="How many bytes the object has.")
    files: int = Field(description="How many files of results are in the archive.")
    rule: str | None
    reason: str | None


class ArchivedFileShape(Shape):
    """A file of a result in the archive."""

    result: str
    path: str
    bytes: int
    sha256: str
    object: str


class ArchivedJobDetail(Answer):
    """A job in the archive, with its objects."""

    job: str
    kind: str | None
    name: str | None
    status: JobStatus | None
    archived: AwareDatetime
    position: int
    location: str
    sha256: str
    events: int
    bytes: int
    rule: str | None
    reason: str | None
    object: str = Field(description="The object with its events.")
    files: list[ArchivedFileShape]
    note: str | None = Field(description="Why its objects cannot be read now.")


def _event() -> RecordedEvent:
    payload = example_of("job.archived")
    return RecordedEvent(
        1_240, "job/annotation-17", 7, "job.archived", _TIME, _TIME, "/chronicled", "a", b"",
        payload, {},
    )  # fmt: skip


def _marker() -> Marker:
    marker = marker_of(_event())
    assert marker is not None, "the example is a marker"  # noqa: S101
    return marker


def archived_job() -> dict[str, Any]:
    """Return a job of the archive."""
    return item_document(_marker(), _event())


def archived_job_detail() -> dict[str, Any]:
    """Return a job of the archive with its objects."""
    return detail_document(_marker(), _event(), None)
