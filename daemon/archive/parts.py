"""What all that works on the archive has in common."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.archive.files import ResultFiles
from daemon.archive.journal import Journal
from daemon.archive.removals import LogRemovals, Removals
from daemon.archive.sharing import Sharing
from daemon.archive.shelf import Shelf

if TYPE_CHECKING:
    from daemon.backup.store import ObjectStore
    from daemon.eventlog.log import EventLog


@dataclass(frozen=True, slots=True)
class Parts:
    """A log, its archive, and the files of results; who changes any of them holds ``lock``.

    Without ``sharing`` nobody knows whose else a file is, and no original is deleted. ``shipped``
    says up to where the backup has the log, None where there is none.
    """

    log: EventLog
    shelf: Shelf
    files: ResultFiles
    journal: Journal
    removals: Removals
    sharing: Sharing | None = None
    shipped: Callable[[], int | None] = lambda: None
    lock: threading.RLock = field(default_factory=threading.RLock)

    @classmethod
    def of(
        cls,
        store: ObjectStore,
        data: Path,
        root: Path | None,
        log: EventLog,
        sharing: Sharing | None = None,
        shipped: Callable[[], int | None] = lambda: None,
    ) -> Parts:
        """Return the parts of an archive in a store; ``root`` is that of the files of results."""
        journal = Journal(data)
        shelf = Shelf(store, journal.folder)
        kept = [data] if shelf.directory is None else [data, shelf.directory]
        files, removals = ResultFiles(root, kept), LogRemovals(log)
        return cls(log, shelf, files, journal, removals, sharing, shipped)
