"""From the configuration to the parts of the archive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from daemon.archive.archiver import JobArchiver
from daemon.archive.errors import NoArchive
from daemon.archive.finishing import Finisher
from daemon.archive.parts import Parts
from daemon.archive.reading import ArchiveReader, ReadLog
from daemon.archive.restoring import Restorer
from daemon.archive.service import ArchiveService
from daemon.archive.sharing import Sharing
from daemon.archive.shelf import Shelf
from daemon.backup.places import open_place
from daemon.backup.status import BackupStatus, State
from domain.errors import ConfigurationError

if TYPE_CHECKING:
    from daemon.backup.status import Backup
    from daemon.backup.store import ObjectStore
    from daemon.config import Config
    from daemon.eventlog.log import EventLog
    from projections.progress import Projector
    from projections.views import Views

WAIT_SECONDS: Final = 10.0
"""How long the archiver waits for the views to know a job's results."""
TIES: Final = ("ties", "jobs")


@dataclass(frozen=True, slots=True)
class Archive:
    """The parts of one daemon's archive."""

    shelf: Shelf
    reader: ArchiveReader
    archiver: JobArchiver
    restorer: Restorer
    service: ArchiveService


def open_store(config: Config) -> ObjectStore | None:
    """Return the store of the archive, None where none is configured. Nothing is asked of it."""
    if not config.retention.archive:
        return None
    credentials = Path(config.backup.credentials) if config.backup.credentials else None
    return open_place(
        config.retention.archive,
        data=config.data,
        timeout_seconds=config.backup.timeout_seconds,
        credentials=credentials,
    ).objects


def open_reader(config: Config, log: ReadLog) -> ArchiveReader:
    """Return who reads archived jobs; where no archive is configured, it says so."""
    store = open_store(config)
    return ArchiveReader(log, None if store is None else Shelf(store, config.data))


def reader_at_rest(data: Path, log: ReadLog) -> ArchiveReader:
    """Return who reads archived jobs for a command that was given a directory, and no more.

    The archive is the one of the configuration that a daemon would find; a configuration that
    cannot be read is none.
    """
    from daemon.config import load

    try:
        return open_reader(load(data=data), log)
    except ConfigurationError:
        return ArchiveReader(log, None)


def open_restorer(config: Config, log: EventLog) -> Restorer:
    """Return who brings archived jobs back, where nothing else works on the log.

    Raises:
        NoArchive: none is configured.

    """
    store = open_store(config)
    if store is None:
        raise NoArchive("No archive is configured.")
    # Up to where a backup has the log is not asked: what waits for it is left to the daemon.
    shipped = 0 if config.backup.url else None
    parts = Parts.of(store, config.data, _root(config), log, shipped=lambda: shipped)
    return Restorer(parts, Finisher(parts))


def open_archive(
    config: Config, log: EventLog, views: Views, projector: Projector, backup: Backup | None
) -> Archive | None:
    """Return the archive that is configured, None where there is none."""
    store = open_store(config)
    if store is None:
        return None

    def wait(position: int) -> bool:
        return projector.wait_for(position, WAIT_SECONDS, TIES)

    def shipped() -> int | None:
        status = BackupStatus() if backup is None else backup.status()
        return None if status.state is State.OFF else status.shipped

    return make_archive(store, config.data, _root(config), log, views, wait, shipped)


def make_archive(
    store: ObjectStore,
    data: Path,
    root: Path | None,
    log: EventLog,
    views: Views,
    wait: Callable[[int], bool],
    shipped: Callable[[], int | None] = lambda: None,
) -> Archive:
    """Return the parts of an archive in a store; ``root`` is that of the files of results."""
    parts = Parts.of(store, data, root, log, Sharing(log, views, wait), shipped)
    finisher = Finisher(parts)
    return Archive(
        parts.shelf,
        ArchiveReader(log, parts.shelf),
        JobArchiver(parts, finisher, views, wait),
        Restorer(parts, finisher),
        ArchiveService(parts, finisher),
    )


def _root(config: Config) -> Path | None:
    return Path(config.retention.files_root) if config.retention.files_root else None
