"""A log with its views, a root with result files and an archive, all driven by hand."""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import orjson

from daemon.archive.archiver import Archived
from daemon.archive.marker import find_marker
from daemon.archive.opening import Archive, make_archive
from daemon.backup.directory_store import DirectoryStore
from daemon.backup.store import ObjectStore
from daemon.eventlog.log import EventLog
from daemon.eventlog.truncation import Bound, Truncation
from domain.events import NewEvent
from projections.runner import ProjectionRunner
from projections.views import Views

START = 1_770_000_000_000_000
"""The first time: 2026-02-02."""


class Site:
    """Everything below ``folder``; each recorded event is a second later than the one before."""

    def __init__(self, folder: Path, store: ObjectStore | None = None) -> None:
        """Open the parts; the archive is a directory unless a store is given."""
        self.folder = folder
        self.data = folder / "data"
        self.root = folder / "root"
        self.data.mkdir(exist_ok=True)
        self.root.mkdir(exist_ok=True)
        self.now = START
        self.log = EventLog.open(self.data / "log.db", clock=self.tick)
        self.runner = ProjectionRunner(self.data / "views.db", self.log)
        self.views = Views(self.data / "views.db")
        self.store = store or DirectoryStore(folder / "kept")
        self.shipped: int | None = None
        """Up to where a backup has the log; None where there is none."""
        self.archive: Archive = make_archive(
            self.store, self.data, self.root, self.log, self.views, self.project,
            lambda: self.shipped,
        )  # fmt: skip
        self._numbers = iter(range(self.log.head() + 1, 1_000_000_000))

    def __enter__(self) -> Self:
        """Start the writer."""
        self.log.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close everything."""
        self.views.close()
        self.runner.close()
        self.log.close()

    def tick(self) -> int:
        """Return the time, which goes on with each look."""
        self.now += 1_000_000
        return self.now

    def project(self, position: int) -> bool:
        """Bring the views up to a position, and return whether they are there."""
        while self.runner.step(0) is not None and not self.runner.wait_for(position, 0.0):
            pass
        return self.runner.wait_for(position, 0.0)

    def record(self, type_: str, subject: str, payload: Mapping[str, Any] | None = None) -> int:
        """Append an event and return its position."""
        data = orjson.dumps(dict(payload or {}))
        event = NewEvent(type_, subject, "/tests", f"e{next(self._numbers)}", data)
        return self.log.append([event]).receipts[0].position

    def job(self, job: str, **files: bytes) -> None:
        """Record a job that ended well, and its results: name and content of files."""
        self.record("job.submitted", job, {"kind": "annotation", "params": {"genome": "E. coli"}})
        self.record("job.started", job, {"worker": "w1"})
        self.record("job.progressed", job, {"fraction": 0.5, "stage": "search"})
        for name, content in files.items():
            self.result(job, f"{name}.gff3", content)
        self.record("job.succeeded", job, {"result": {"features": 95}})

    def result(self, job: str, name: str, content: bytes, path: str | None = None) -> Path:
        """Write a file and record it as a result; ``path`` is what the event says of its place."""
        told = path or f"{job}/{name}"
        place = self.root / told
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        said = {"job": job, "kind": "GFF3", "path": told, "bytes": len(content)}
        self.record(
            "result.recorded", f"{job}/{name}", {**said, "sha256": sha256(content).hexdigest()}
        )
        return place

    def store_job(self, job: str) -> Archived:
        """Archive a job."""
        return self.archive.archiver.archive(job, "ended", "a test", self.now)

    def purge(self, job: str) -> None:
        """Record that a job is purged, and what it has in the archive with it."""
        marker = find_marker(self.log, job)
        assert marker is not None
        version = self.log.read_stream(f"job/{job}")[-1].version
        data = orjson.dumps({"replaces": version, "location": marker.location})
        event = NewEvent("job.purged", job, "/chronicled", "p", data, expected_version=version)
        self.archive.archiver._removals.mark(event, [], outside=True)

    def truncate(self) -> None:
        """Bring the views on, and remove every row that may go."""
        self.project(self.log.head())
        Truncation(self.log, lambda: Bound(self.log.head() + 1)).run_dry()

    def settle(self) -> None:
        """Let the service end what it can."""
        while self.archive.service.step(0) == 0:
            pass

    def types(self, stream: str) -> list[str]:
        """Return the types of the events that the log holds of a stream."""
        return [event.type for event in self.log.read_stream(stream)]

    def originals(self) -> dict[str, bytes]:
        """Return the files below the root, by path."""
        return {
            os.path.relpath(path, self.root): path.read_bytes()
            for path in sorted(self.root.rglob("*"))
            if path.is_file()
        }

    def objects(self) -> list[str]:
        """Return the names of the objects in the archive."""
        return [each.name for each in self.store.list("")]

    def events(self, job: str) -> list[Any]:
        """Return the events of a job as a reader meets them, out of log and archive."""
        stream, version, found = f"job/{job}", 0, []
        for event in self.log.read_stream(stream):
            found += self.archive.reader.between(stream, version, event.version)
            found.append(event)
            version = event.version
        return found
