"""Bringing an archived job back: its files are put in their places again.

The archive stays as it is until the job is purged: the events of the job are read from it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, Final

from daemon.archive.errors import FileInTheWay, NotArchived
from daemon.archive.files import Presence
from daemon.archive.finishing import Finisher
from daemon.archive.marker import ArchivedFile, Marker, find_marker
from daemon.archive.parts import Parts
from daemon.archive.reading import read_lines
from daemon.eventlog.epochs import SOURCE
from domain.catalog import validate_payload
from domain.errors import Fault, StorageFailed
from domain.events import NewEvent

Progress = Callable[[int, int], None]
RESTORED: Final = "job.restored"


class Restorer:
    """Brings archived jobs back."""

    def __init__(self, parts: Parts, finisher: Finisher) -> None:
        self._log = parts.log
        self._shelf = parts.shelf
        self._files = parts.files
        self._lock = parts.lock
        self._finisher = finisher

    def restore(
        self, job: str, reason: str | None, actor: str | None, progress: Progress
    ) -> dict[str, Any]:
        """Put the files of a job back, and record that; return what was done.

        Raises:
            NotArchived: it is not in the archive.
            FileInTheWay: another file is in a place; nothing was changed.
            ArchiveDamaged: an object is not what was stored.
            VersionConflict: the job has moved on meanwhile; its files are in their places.

        """
        with self._lock:
            self._finisher.finish_if_pending(f"job/{job}")
            marker = find_marker(self._log, job)
            if marker is None:
                raise NotArchived(f"The job {job[:80]!r} is not in the archive.")
            version = self._version(marker)
            read_lines(self._shelf, marker)
            places = self._places(marker)
            counts = {"files": 0, "bytes": 0, "there": 0, "elsewhere": 0}
            for done, (file, presence) in enumerate(places, 1):
                self._restore(file, presence, counts)
                progress(done, len(places))
            extensions = {} if actor is None else {"actor": actor}
            kept = {name: count for name, count in counts.items() if count}
            events = [
                self._restored(marker, reason, kept, version, extensions),
                *(self._verified(marker, file, extensions) for file, there in places if _is(there)),
            ]
            appended = self._log.append(events)
            receipt = appended.receipts[0]
            return {
                "job": job,
                "position": receipt.position,
                "location": marker.location,
                "sha256": marker.sha256,
                **counts,
            }

    def _version(self, marker: Marker) -> int:
        version = marker.version
        while page := self._log.read_stream(f"job/{marker.job}", after_version=version):
            version = page[-1].version
        return version

    def _places(self, marker: Marker) -> list[tuple[ArchivedFile, Presence]]:
        places = [(file, self._files.presence(file.path, file.sha256)) for file in marker.files]
        wrong = [file for file, presence in places if presence is Presence.DIFFERENT]
        if wrong:
            faults = [Fault(f"{file.path}: another file is there") for file in wrong[:100]]
            raise FileInTheWay(faults[0].detail, errors=faults)
        return places

    def _restore(self, file: ArchivedFile, presence: Presence, counts: dict[str, int]) -> None:
        if presence is Presence.SAME:
            self._files.sweep(file.path, file.sha256)
            counts["there"] += 1
            return
        if presence is Presence.ELSEWHERE:
            counts["elsewhere"] += 1
            return
        self._shelf.check(file.object, content=file.sha256)
        try:
            self._files.put_back(file.path, self._shelf.read(file.object), file.sha256)
        except OSError as error:
            raise StorageFailed(f"{file.path} cannot be put back: {error.strerror}") from error
        counts["files"] += 1
        counts["bytes"] += file.bytes

    @staticmethod
    def _restored(
        marker: Marker,
        reason: str | None,
        counts: dict[str, int],
        version: int,
        extensions: dict[str, str],
    ) -> NewEvent:
        said = {
            "reason": reason,
            "location": marker.location,
            "sha256": marker.sha256,
            "counts": counts,
        }
        data = validate_payload(
            RESTORED, {name: value for name, value in said.items() if value is not None}
        )
        return NewEvent(
            RESTORED, marker.job, SOURCE, str(uuid.uuid4()), data,
            extensions=extensions, expected_version=version,
        )  # fmt: skip

    @staticmethod
    def _verified(marker: Marker, file: ArchivedFile, extensions: dict[str, str]) -> NewEvent:
        said = {
            "job": marker.job,
            "path": file.path,
            "bytes": file.bytes,
            "sha256": file.sha256,
            "reason": "restored",
        }
        data = validate_payload("result.verified", said)
        return NewEvent(
            "result.verified", file.result, SOURCE, str(uuid.uuid4()), data, extensions=extensions
        )


def _is(presence: Presence) -> bool:
    """Return whether a file is in its place in the end."""
    return presence in (Presence.SAME, Presence.MISSING)
