"""Payloads of ``file.*`` events; the subject is the file's path or URL."""

from __future__ import annotations

from typing import ClassVar, Final

from pydantic import Field

from domain.payloads.base import Count, Payload, Timestamp, example


class FileObserved(Payload):
    """A file, directory or object was seen."""

    model_config = example(
        path="gs://raw/clicks/2026/02/04/06/part-1.json.gz",
        size=14725896,
        checksum="5d41402abc4b2a76b9719d911017c592",
        linecnt=21225,
        created="2026-02-04T06:12:45Z",
        bucket="raw",
        generation="1770185565933407",
    )
    event_type: ClassVar[str] = "file.observed"

    path: str | None = Field(default=None, description="Where it is; the same as the subject.")
    size: Count | None = Field(default=None, description="Stored bytes.")
    checksum: str | None = None
    linecnt: Count | None = Field(default=None, description="Lines.")
    bytecnt: Count | None = Field(default=None, description="Bytes before compression.")
    created: Timestamp | None = None
    is_dir: bool | None = None
    files: Count | None = Field(default=None, description="Files below a directory.")
    generation: str | None = Field(default=None, description="The object store's version.")
    bucket: str | None = None


class FileMatched(Payload):
    """Which rules matched a file; no jobs and a reason when none did."""

    model_config = example(
        workflow="etl/hourly.toml",
        phases=["transform:clicks"],
        jobs=["transform:clicks:77a0f0a8:2026-02-04T06:12:46Z:1"],
    )
    event_type: ClassVar[str] = "file.matched"

    workflow: str | None = None
    phases: list[str] | None = None
    jobs: list[str] | None = None
    reason: str | None = None


class _FileEnded(Payload):
    """What became of a file, and by which job."""

    outcome: str | None = None
    job: str | None = None
    message: str | None = None


class FileProcessed(_FileEnded):
    """The work on a file is done."""

    model_config = example(outcome="loaded", message="21225 lines")
    event_type: ClassVar[str] = "file.processed"


class FileRemoved(_FileEnded):
    """A file is no longer there."""

    model_config = example(outcome="expired")
    event_type: ClassVar[str] = "file.removed"


PAYLOADS: Final[tuple[type[Payload], ...]] = (
    FileObserved,
    FileMatched,
    FileProcessed,
    FileRemoved,
)
