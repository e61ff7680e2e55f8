"""The recorders of an `eventsourcing` persistence module, on the event log.

Every application has its events in the one log, under its name: several on one path share the
positions, and each sees its own notifications only. Every write is a `Work` of the log's writer, so
that the saves of many threads share one commit.

A view with tables of its own, kept by a projection of the library, is a subclass::

    class Visits(ApswTrackingRecorder):
        tables = "CREATE TABLE IF NOT EXISTS visits (page TEXT PRIMARY KEY, count INTEGER) STRICT"

        def count_visit(self, page: str, tracking: Tracking) -> None:
            self.track(tracking, lambda db: db.execute(UPSERT, (page,)))

        def visits(self, page: str) -> int:
            with self.reading() as db:
                return db.execute("SELECT count FROM visits WHERE page = ?", (page,)).get or 0

What is done to the database in `track` is committed together with the tracking, or not at all.
"""

from __future__ import annotations

import json
import weakref
from abc import ABC
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final
from uuid import UUID

import apsw
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    DatabaseError,
    DataError,
    IntegrityError,
    ListenNotifySubscription,
    Notification,
    OperationalError,
    PersistenceError,
    ProcessRecorder,
    ProgrammingError,
    Recorder,
    StoredEvent,
    Tracking,
    TrackingRecorder,
)

from daemon.eventlog.log import LOGS
from daemon.eventlog.requests import Work
from daemon.eventlog.statements import named_statements
from daemon.eventlog.transaction import Stored, Transaction
from domain.errors import ChronicledError, LogDamaged

SQL: Final = named_statements(Path(__file__).with_suffix(".sql"))
"""The statements of the recorders."""

_LOWEST: Final = -(2**63)
_HIGHEST: Final = 2**63 - 1
_ERRORS: Final[tuple[tuple[type[Exception], type[PersistenceError]], ...]] = (
    (apsw.ConstraintError, IntegrityError),
    (apsw.MismatchError, DataError),
    (apsw.RangeError, DataError),
    (apsw.TooBigError, DataError),
    (apsw.BindingsError, ProgrammingError),
    (apsw.MisuseError, ProgrammingError),
    (LogDamaged, DatabaseError),
    (apsw.Error, OperationalError),
    (ChronicledError, OperationalError),
)

Change = Callable[[apsw.Connection], object]
"""What a recorder does to the database within the writer's transaction."""


@contextmanager
def library_errors() -> Iterator[None]:
    """Raise the library's own error for one of SQLite's or of ours."""
    try:
        yield
    except (apsw.Error, ChronicledError) as error:
        kind = next(kind for ours, kind in _ERRORS if isinstance(error, ours))
        raise kind(error) from error


class ApswDatastore:
    """One application's place in the log at a path; ``:memory:`` for a log of its own.

    ``close()`` leaves the log, and the last to leave closes it. It may be called twice, and is
    called by the garbage collector where nobody did.
    """

    def __init__(
        self, path: str, *, application: str = "", originator_id_type: str = "uuid"
    ) -> None:
        with library_errors():
            self.log = LOGS.acquire(path)
        self.close = weakref.finalize(self, LOGS.release, self.log)
        self.application = application
        self.convert: Callable[[str], UUID | str] = UUID if originator_id_type == "uuid" else str


class ApswRecorder(Recorder):
    """What the recorders share: writing, reading, and tables of their own."""

    tables: ClassVar[str] = ""
    """The tables of a subclass, each ``CREATE TABLE IF NOT EXISTS``; the log's own are there."""

    def __init__(self, datastore: ApswDatastore) -> None:
        self.datastore = datastore

    def create_table(self) -> None:
        """Create the `tables` of a subclass."""
        if self.tables:
            self.work(lambda db: db.execute(self.tables))

    def work(self, change: Change) -> None:
        """Change the database in the log's next transaction, and return after its commit.

        The function runs on the writer's thread and keeps everybody else waiting: it must be
        short. It may run twice, the first time undone, so it should do nothing else. What it
        raises is raised here, and undoes what it did; what it returns is dropped, because a
        cursor must not leave that thread.
        """

        def run(transaction: Transaction) -> None:
            change(transaction.connection)

        self._write(Work(run))

    @contextmanager
    def reading(self) -> Iterator[apsw.Connection]:
        """Lend a connection that reads what was committed."""
        with library_errors(), self.datastore.log.reading().connection() as db:
            yield db

    def _write(self, work: Work) -> Any:
        with library_errors():
            return self.datastore.log.work(work)


class ApswVersionsRecorder(ApswRecorder, AggregateRecorder, ABC):
    """What is recorded of originators version by version: events, and snapshots."""

    _statement: ClassVar[str]

    def __init__(self, datastore: ApswDatastore) -> None:
        super().__init__(datastore)
        self._place: tuple[str, ...] = (datastore.application,)

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """Return what is recorded of one originator, by version."""
        sql = f"{SQL[self._statement]}{' DESC' if desc else ''} LIMIT ?"
        lowest, highest = _LOWEST if gt is None else gt, _HIGHEST if lte is None else lte
        parameters = (*self._place, _name(originator_id), lowest, highest)
        with self.reading() as db:
            rows: list[Any] = db.execute(
                sql, (*parameters, -1 if limit is None else limit)
            ).fetchall()
        return [StoredEvent(originator_id, *row) for row in rows]


class ApswAggregateRecorder(ApswVersionsRecorder):
    """Records events in the log without telling their positions."""

    _statement = "select_events"

    def insert_events(
        self, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        """Record events, all or none.

        Raises:
            IntegrityError: a version is taken.

        """
        self._insert(stored_events, **kwargs)
        return None

    def _insert(
        self,
        stored_events: Sequence[StoredEvent],
        tracking: Tracking | None = None,
        **_: Any,
    ) -> list[int]:
        if not stored_events and tracking is None:
            return []
        application = self.datastore.application
        rows = [
            Stored(_name(event.originator_id), event.originator_version, event.topic,
                   event.state)
            for event in stored_events
        ]  # fmt: skip

        def record(transaction: Transaction) -> list[int]:
            if tracking is not None:
                track(transaction.connection, application, tracking)
            return transaction.insert_stored(application, rows)

        positions: list[int] = self._write(
            Work(record, max(len(rows), 1), sum(len(row.state) for row in rows))
        )
        return positions


class ApswSnapshotRecorder(ApswVersionsRecorder):
    """Records snapshots, or what else is derived, in a table outside the chain."""

    _statement = "select_snapshots"

    def __init__(self, datastore: ApswDatastore, purpose: str = "snapshots") -> None:
        super().__init__(datastore)
        self._place = (datastore.application, purpose)

    def insert_events(
        self,
        stored_events: Sequence[StoredEvent],
        **kwargs: Any,  # noqa: ARG002  the library's signature
    ) -> Sequence[int] | None:
        """Record snapshots, all or none.

        Raises:
            IntegrityError: there is one of that version.

        """
        rows = [
            (*self._place, _name(event.originator_id), event.originator_version, event.topic,
             event.state)
            for event in stored_events
        ]  # fmt: skip
        self.work(lambda db: db.executemany(SQL["insert_snapshot"], rows))
        return None


class ApswApplicationRecorder(ApswAggregateRecorder, ApplicationRecorder):
    """Records events, and reads them back in the order of the application."""

    def insert_events(
        self, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        """Record events, all or none, and return their positions.

        Raises:
            IntegrityError: a version is taken.

        """
        return self._insert(stored_events, **kwargs)

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Return the application's events of these topics between two positions."""
        after = 0 if start is None else start - inclusive_of_start
        upto = _HIGHEST if stop is None else stop
        with library_errors(), self.datastore.log.reading().snapshot() as db:
            names, wanted = self._types(db, topics)
            rows: list[Any] = db.execute(
                SQL["notifications"], (after, upto, wanted, limit)
            ).fetchall()
        convert = self.datastore.convert
        return [
            Notification(convert(name), version, names[type_id], data, position)
            for position, name, version, type_id, data in rows
        ]

    def max_notification_id(self) -> int | None:
        """Return the position of the application's newest event, None when it has none."""
        with library_errors(), self.datastore.log.reading().snapshot() as db:
            names, wanted = self._types(db, ())
            newest: int | None = db.execute(SQL["newest_notification"], (wanted,)).get
            return newest if names else None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> ApswSubscription:
        """Yield the application's events after a position for ever, as they are committed."""
        return ApswSubscription(self, gt, topics)

    def _types(self, db: apsw.Connection, topics: Sequence[str]) -> tuple[dict[int, str], Any]:
        """Return the application's topics by number, and those wanted as the queries take them.

        The same transaction must read both: a topic that comes between would be passed over.
        """
        application = (self.datastore.application,)
        names: dict[int, str] = dict(db.execute(SQL["topics"], application))
        if not topics and db.execute(SQL["is_alone"], application).get:
            return names, None
        wanted = [number for number, name in names.items() if not topics or name in topics]
        return names, json.dumps(wanted)


class ApswSubscription(ListenNotifySubscription[ApswApplicationRecorder]):
    """Woken by each commit of this process."""

    def __init__(
        self, recorder: ApswApplicationRecorder, gt: int | None, topics: Sequence[str]
    ) -> None:
        self._leave: Callable[[], None] = lambda: None
        super().__init__(recorder, gt, topics)
        self._leave = recorder.datastore.log.on_commit(lambda _: self._has_been_notified.set())
        if self._has_been_stopped:
            self._leave()
        # What was committed between the first look and the listening woke nobody.
        self._has_been_notified.set()

    def stop(self) -> None:
        """End the iteration."""
        super().stop()
        self._leave()

    def _pull(self) -> None:
        head = self._recorder.datastore.log.head()
        super()._pull()
        # What is up to here was looked at: events of others are not looked through again.
        self._last_notification_id = max(self._last_notification_id or 0, head)


class ApswTrackingRecorder(ApswRecorder, TrackingRecorder):
    """Records how far an application was followed, together with what became of it."""

    def track(self, tracking: Tracking, change: Change) -> None:
        """Record tracking and change the database, in one transaction.

        Raises:
            IntegrityError: the notification was processed before; nothing is changed.

        """

        def both(db: apsw.Connection) -> None:
            track(db, self.datastore.application, tracking)
            change(db)

        self.work(both)

    def insert_tracking(self, tracking: Tracking) -> None:
        """Record tracking alone.

        Raises:
            IntegrityError: the notification was processed before.

        """
        self.track(tracking, lambda _: None)

    def max_tracking_id(self, application_name: str) -> int | None:
        """Return the newest notification processed of an application, None when none was."""
        with self.reading() as db:
            place = (self.datastore.application, application_name)
            newest: int | None = db.execute(SQL["find_tracking"], place).get
            return newest


class ApswProcessRecorder(ApswTrackingRecorder, ApswApplicationRecorder, ProcessRecorder):
    """Records events together with the tracking of what they came from."""


def _name(originator_id: UUID | str) -> str:
    return originator_id.hex if isinstance(originator_id, UUID) else originator_id


def track(db: apsw.Connection, application: str, tracking: Tracking) -> None:
    """Record tracking within the writer's transaction."""
    name, notification_id = tracking.application_name, tracking.notification_id
    db.execute(SQL["set_tracking"], (application, name, notification_id))
    if not db.changes():
        raise IntegrityError(f"notification {notification_id} of {name} was processed before")
