"""Which jobs are just being archived: a file for each, so that a kill leaves no object behind.

An object is stored before the log speaks of it. Whoever dies in between has left a file here, and
`ArchiveService` then deletes what was stored since, and no marker names.
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

import orjson

from daemon.replay.whole_file import whole_file
from daemon.syncing import sync

FOLDER: Final = "archive"
"""The folder of the data directory."""


class Begun(NamedTuple):
    """A job that is being archived, where, and the names of the objects that were there before."""

    job: str
    location: str
    there: frozenset[str]


class Journal:
    """The jobs that are being archived, and where."""

    def __init__(self, data: Path) -> None:
        self.folder = data / FOLDER

    def begin(self, begun: Begun) -> None:
        """Note that objects of a job are about to be stored at a location."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        with whole_file(self._path(begun.job)) as write:
            write(orjson.dumps(begun._asdict() | {"there": sorted(begun.there)}))

    def end(self, job: str) -> None:
        """Note that nothing is left at the location but what a marker names."""
        with suppress(FileNotFoundError):
            self._path(job).unlink()
            sync(self.folder)

    def begun(self) -> list[Begun]:
        """Return the jobs that were begun and not ended."""
        found = []
        with suppress(FileNotFoundError):
            for path in sorted(self.folder.glob("*.json")):
                said = orjson.loads(path.read_bytes())
                found.append(Begun(said["job"], said["location"], frozenset(said["there"])))
        return found

    def _path(self, job: str) -> Path:
        return self.folder / f"{sha256(job.encode()).hexdigest()[:32]}.json"
