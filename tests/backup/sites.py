"""Data directories with a log, beside a place: what a daemon would do there, without a daemon."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import apsw

from daemon.backup.board import Board
from daemon.backup.manifest import Manifest, Writer, load
from daemon.backup.recovery import Outcome, Recovery
from daemon.backup.settings import Settings
from daemon.backup.status import BackupStatus, Progress
from daemon.backup.store import Place
from daemon.backup.workshop import Workshop, mark_of
from daemon.eventlog.copying import copy_log
from daemon.eventlog.log import EventLog
from daemon.eventlog.proof import prove_log
from daemon.lifecycle import system_clock
from daemon.lock import LOG_FILE
from domain.events import NewEvent


class Site:
    """A data directory, and a place that its log goes to; ``name`` is the id of its writer."""

    def __init__(self, data: Path, place: Place, name: str = "here") -> None:
        """Make the directory."""
        data.mkdir(mode=0o700, exist_ok=True)
        self.data = data
        self.place = place
        self.name = name
        self._sessions = 0

    def writer(self) -> Writer:
        """Return who writes, as of another start."""
        self._sessions += 1
        return Writer(id=self.name, session=f"{self.name}-{self._sessions}")

    def append(self, count: int, word: str = "job") -> Self:
        """Append events; others, where the word is another one."""
        with closing(EventLog.open(self.data / LOG_FILE)) as log:
            log.start()
            head = log.head()
            keys = [f"{word}-{number}" for number in range(head, head + count)]
            if keys:
                log.append(
                    [NewEvent("job.submitted", key, "/tests", key, b'{"kind":"k"}') for key in keys]
                )
        return self

    def ship(self) -> Manifest:
        """Ship what there is."""
        with closing(self.workshop()) as workshop:
            workshop.shipper.ship_all(system_clock)
            return workshop.ledger.manifest

    def workshop(self) -> Workshop:
        """Return the parts that work on the backup."""

        def copy(target: Path, _: Progress) -> None:
            copy_log(self.data / LOG_FILE, target)

        settings = settings_of(self.data, self.place)
        Path(settings.folder).mkdir(exist_ok=True)
        board = Board(BackupStatus(url=settings.url), system_clock)
        return Workshop(
            settings, self.place, self.writer(), board, copy, threading.Event(), system_clock
        )

    def recovery(self) -> Recovery:
        """Return the start of a daemon here."""
        mark = mark_of(settings_of(self.data, self.place), self.place)
        return Recovery(self.data, self.place, self.writer(), system_clock(), mark=mark)

    def start(self, *, allow_empty: bool = False) -> Outcome:
        """Do what a daemon does before it opens its log."""
        return self.recovery().start(allow_empty=allow_empty)

    def copied(self, data: Path, **options: Any) -> Site:
        """Return a copy of the directory as it is."""
        shutil.copytree(self.data, data)
        return Site(data, self.place, **options)

    def chain(self) -> dict[int, str]:
        """Return the digest at every position."""
        with closing(apsw.Connection(str(self.data / LOG_FILE))) as db:
            return {
                position: digest.hex()
                for position, digest in db.execute("SELECT position, digest FROM events")
            }

    def restored_events(self) -> list[int]:
        """Return the positions at which epochs began."""
        with closing(apsw.Connection(str(self.data / LOG_FILE))) as db:
            sql = (
                "SELECT position FROM events JOIN types USING (type_id) "
                "WHERE types.name = 'log.restored' ORDER BY position"
            )
            return [position for (position,) in db.execute(sql)]

    def require_right(self) -> None:
        """Fail where the log is not as it was recorded."""
        assert not prove_log(self.data / LOG_FILE, at_rest=True).findings


def settings_of(data: Path, place: Place) -> Settings:
    """Return settings that ask for nothing by themselves."""
    return Settings(
        data=str(data), url=place.objects.url, credentials="", segment_seconds=1.0,
        segment_events=1_000, snapshot="off", keep="1 daily", prove=False,
        bytes_per_second=1 << 40, timeout_seconds=5.0, snapshot_on_stop=False, level="info",
        style="text", forget_after_days=30.0,
    )  # fmt: skip


def manifest_of(place: Place) -> Manifest:
    """Return the manifest of a place."""
    found = load(place.register)
    assert found is not None
    return found[0]


def rewrite(place: Place, change: Callable[[Manifest], Manifest]) -> Manifest:
    """Change the manifest of a place behind everybody's back."""
    found = load(place.register)
    assert found is not None
    changed = change(found[0])
    place.register.swap(changed.content(), found[1])
    return changed
