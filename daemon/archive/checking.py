"""Whether the archive holds what the log says: every object is read, and its digests compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from daemon.archive.errors import ArchiveDamaged
from daemon.archive.lines import decode
from daemon.archive.marker import Marker
from daemon.archive.reading import ArchiveReader
from daemon.archive.shelf import Shelf
from domain.errors import ChronicledError

PAGE: Final = 200
FINDINGS_MAX: Final = 1_000
"""So many findings are told; the others are only counted."""

Progress = Callable[[int, int], None]


@dataclass
class Checked:
    """What a look at the archive found; ``next`` is where to go on, None at the end."""

    jobs: int = 0
    objects: int = 0
    bytes: int = 0
    damaged: int = 0
    findings: list[dict[str, Any]] = field(default_factory=list)
    next: int | None = None

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "ok": not self.damaged,
            "jobs": self.jobs,
            "objects": self.objects,
            "bytes": self.bytes,
            "damaged": self.damaged,
            "findings": self.findings,
        }


def check_some(reader: ArchiveReader, checked: Checked, limit: int = PAGE) -> None:
    """Check the objects of the next jobs, from the newest to the oldest; `Checked.next` goes on.

    Raises:
        NoArchive: no archive is configured.
        StoreUnavailable, StoreRefused: it cannot be reached.

    """
    shelf = reader.shelf
    markers, checked.next = reader.list_markers(checked.next, limit)
    for marker, _ in markers:
        checked.jobs += 1
        for name, check in _checks(shelf, marker):
            checked.objects += 1
            try:
                checked.bytes += check()
            except ArchiveDamaged as error:
                checked.damaged += 1
                if len(checked.findings) < FINDINGS_MAX:
                    found = {"job": marker.job, "object": name, "detail": error.detail}
                    checked.findings.append(found)


def check_all(reader: ArchiveReader, progress: Progress) -> dict[str, Any]:
    """Check every object; return what was found."""
    checked = Checked()
    while True:
        check_some(reader, checked)
        if checked.next is None:
            progress(checked.jobs, checked.jobs)
            return checked.document()
        progress(checked.jobs, 0)


def why_unreadable(shelf: Shelf, marker: Marker) -> str | None:
    """Return why the objects of a job cannot be read, None where they are there.

    Only their names are looked for.
    """
    try:
        missing = [name for name in sorted(marker.objects) if not shelf.has(name)]
    except ChronicledError as error:
        return error.detail
    return f"{missing[0]} is missing" if missing else None


def _checks(shelf: Shelf, marker: Marker) -> Iterator[tuple[str, Callable[[], int]]]:
    """Yield the name of each object, and what checks it and returns its size."""

    def events() -> int:
        reading = shelf.read(marker.object, marker.sha256)
        decode(reading, marker.object)
        return reading.head.packed_bytes

    yield marker.object, events
    for file in marker.files:

        def content(name: str = file.object, digest: str = file.sha256) -> int:
            return shelf.check(name, content=digest).packed_bytes

        yield file.object, content
