"""Applying segments: events go back to their places, and each has to continue the chain."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import sha256
from typing import Any, Final

import apsw

from daemon.backup.container import Header
from daemon.backup.errors import ObjectDamaged
from daemon.backup.segment import SQL, hold, reading, unsealed
from daemon.backup.settling import note_redacted, settle_decided
from daemon.eventlog.known import Known
from daemon.eventlog.removal import Run
from daemon.eventlog.statements import SQL as LOG_SQL
from domain.epochs import stream_of, told_epoch
from domain.prepared import KEY_BYTES

_BATCH: Final = 2_000
_DIGEST: Final = -1
"""Where a row has its digest."""
_KEY: Final = 9
"""The same for its key."""
_Row = tuple[Any, ...]


class Applier:
    """Brings a log that nobody else uses on, segment by segment; each in one transaction.

    ``position`` and ``digest`` are where the log is.
    """

    def __init__(self, db: apsw.Connection, log_id: str) -> None:
        self._db = db
        self._log_id = log_id
        self._freed: set[int] = set()
        head = Known.read(db, log_id).head
        self.position = head.position
        self.digest = head.digest

    def apply(self, content: bytes, name: str, upto: int | None = None) -> Header:
        """Append the events of a segment that come after the log's newest, up to a position.

        Raises:
            ObjectDamaged: it is damaged, or does not continue this log: nothing of it is applied.
            NewerSchema: a newer release wrote it.

        """
        header, database = unsealed(content, name)
        if header.log_id != self._log_id:
            raise ObjectDamaged(f"{name} is of another log")
        with reading(name), self._taken(database, name):
            if header.kind == "letters":
                self._db.execute(SQL["take_letters"])
            else:
                self._append(header, name, header.last if upto is None else upto)
        return header

    @contextmanager
    def _taken(self, database: bytes, name: str) -> Iterator[None]:
        """Attach a segment for one transaction."""
        place = self.position, self.digest
        self._db.execute("ATTACH ':memory:' AS segment")
        try:
            hold(self._db, "segment", database, name)
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if not self._db.get_autocommit():
                self._db.execute("ROLLBACK")
            self.position, self.digest = place
            raise
        finally:
            self._db.execute("DETACH segment")

    def _append(self, header: Header, name: str, upto: int) -> None:
        if header.last <= self.position:
            self._require_same(header, name)
        after = self.position
        # As of a position within a stretch without events, nothing of the stretch is there.
        over: Any = self._db.execute(SQL["run_over"], (upto,)).get
        there, gone = (after, upto), (after, upto if over is None else over - 1)
        self._db.execute(SQL["rename_forgotten"], there)
        self._db.execute(SQL["take_names"], there + gone + there * 2)
        if self._db.execute(SQL["other_names"]).get:
            raise ObjectDamaged(f"{name} has other names for some numbers")
        before = header.digest_before
        if header.first == after + 1 and before and before != self.digest.hex():
            raise ObjectDamaged(f"{name} does not continue the log: another digest comes before it")
        if header.first > after + 1:
            raise ObjectDamaged(f"{name} begins at {header.first}; the log ends at {after}")
        way = Way(self._db, after, self.digest)
        with closing(chained_rows(self._db, way)) as batches:
            for rows in batches:
                kept = [row for row in rows if row[0] <= upto]
                self._insert(kept)
                if kept:
                    self.position, self.digest = kept[-1][0], kept[-1][_DIGEST]
        way.pass_runs(header.last + 1)
        if header.last > after and way.digest.hex() != header.digest_after:
            raise ObjectDamaged(f"{name} does not hold the events that were recorded")
        self._take_removed(way.passed, upto)
        self._db.execute(SQL["take_keys"], gone)
        note_redacted(self._db, {at: each for at, each in way.redacted.items() if at <= upto})
        if upto >= header.last:
            self._db.execute(SQL["take_places"])
        self._follow_epochs()

    def _insert(self, rows: Sequence[_Row]) -> None:
        """Insert rows of the log; one may have the key of an event that was purged before it.

        The log had removed that event by then, but an older object still has it. Until `settle`
        removes it again it is left without its key.
        """
        # Not the connection's own savepoint: where the disk refuses, SQLite gives up the whole
        # transaction, and the end of that savepoint would hide why.
        self._db.execute("SAVEPOINT rows_of_log")
        try:
            self._db.executemany(LOG_SQL["insert_event"], rows)
        except apsw.ConstraintError:
            self._db.execute("ROLLBACK TO rows_of_log")
            for row in rows:
                freed: Any = self._db.execute(SQL["free_purged_key"], (row[1], row[_KEY])).get
                self._freed |= set() if freed is None else {freed}
                self._db.execute(LOG_SQL["insert_event"], row)
        self._db.execute("RELEASE rows_of_log")

    def settle(self) -> None:
        """Do again what the events of the log say of removals and redactions.

        Raises:
            ObjectDamaged: a redaction cannot be done again, or no event says of a removal that was
                one.

        """
        settle_decided(self._db, self._log_id)
        for position in sorted(self._freed):
            if self._db.execute(SQL["event_is_there"], (position,)).get:
                raise ObjectDamaged(f"the event {position} has the key of a later one")

    def _take_removed(self, runs: Iterable[Run], upto: int) -> None:
        """Take over which positions have no events any more, and where that leaves the log."""
        for run in runs:
            if run.last <= upto:
                self._db.execute(SQL["take_run"], run)
                if run.last > self.position:
                    self.position, self.digest = run.last, run.digest

    def _follow_epochs(self) -> None:
        """Bring the log into the newest epoch that its events began."""
        began = self._db.execute(LOG_SQL["restored_events"], (stream_of(self._log_id),))
        epoch = max((told_epoch(data) or 0 for _, data, _ in began), default=0)
        known: Any = self._db.execute(LOG_SQL["find_meta"], ("epoch",)).get
        if epoch > known:
            self._db.execute(LOG_SQL["set_meta"], ("epoch", epoch))

    def _require_same(self, header: Header, name: str) -> None:
        """Raise unless a segment that brings no events ends as the log has it there."""
        sql = "SELECT digest FROM main.events WHERE position = ?"
        digest: Any = self._db.execute(sql, (header.last,)).get
        if digest is None or digest.hex() != header.digest_after:
            raise ObjectDamaged(f"{name} is of a log that went another way")


def digest_within(content: bytes, name: str, position: int) -> bytes | None:
    """Return the digest of the chain at a position within a segment, as the segment has it.

    None where the segment has no event there, nothing (``b""``) where it was removed with others.

    Raises:
        ObjectDamaged: the segment does not hold what was recorded.

    """
    header, database = unsealed(content, name)
    with reading(name), closing(apsw.Connection(":memory:")) as db:
        db.execute("ATTACH ':memory:' AS segment")
        hold(db, "segment", database, name)
        found = None
        way = Way(db, header.first - 1, bytes.fromhex(header.digest_before))
        for rows in chained_rows(db, way):
            found = next((row[_DIGEST] for row in rows if row[0] == position), found)
        way.pass_runs(header.last + 1)
    if way.digest.hex() != header.digest_after:
        raise ObjectDamaged(f"{name} does not hold the events that were recorded")
    for run in way.passed:
        if run.first <= position <= run.last:
            return run.digest if position == run.last else b""
    return found


class Way:
    """How far the rows of an attached segment are gone over: a position, and the digest there.

    ``passed`` are the stretches without events on the way, from where the way came to each;
    ``redacted`` the hashes of payloads that are not those recorded, by position.
    """

    def __init__(self, db: apsw.Connection, after: int, digest: bytes) -> None:
        self.position = after
        self.digest = digest
        self.passed: list[Run] = []
        self.redacted: dict[int, str] = {}
        self._runs = deque(Run(*row) for row in db.execute(SQL["runs"], (after,)))

    def pass_runs(self, position: int) -> None:
        """Pass what lies before a position."""
        while self._runs and self._runs[0].last < position:
            run = self._runs.popleft()
            if run.last > self.position:
                first = max(run.first, self.position + 1)
                self.passed.append(run._replace(first=first))
                self.position, self.digest = run.last, run.digest


def chained_rows(db: apsw.Connection, way: Way) -> Generator[list[_Row], None, None]:
    """Yield, in batches, the rows of the log that follow from those of an attached segment."""
    streams = _told(db.execute(SQL["named_streams"]))
    types = _told(db.execute(SQL["named_types"]))
    sources = _told(db.execute(SQL["named_sources"]))
    sources[None] = "0:"
    rows: list[_Row] = []
    for (
        position, stream_id, version, type_id, class_version, time, recordedtime, source_id,
        id_, extensions, data, redacted,
    ) in db.execute(SQL["rows"], (way.position,)):  # fmt: skip
        way.pass_runs(position)
        source = sources[source_id]
        payload_hash = redacted or sha256(data).digest()
        if redacted:
            way.redacted[position] = sha256(data).hexdigest()
        told, extra = id_ or "", extensions or ""
        text = (
            f"{position} {version} {class_version} {time} {recordedtime} {streams[stream_id]}"
            f"{types[type_id]}{source}{len(told)}:{told}{len(extra)}:{extra}"
        ).encode()
        digest = sha256(way.digest + sha256(text + payload_hash).digest()).digest()
        way.position, way.digest = position, digest
        key = None
        if source_id is not None or id_ is not None:
            key = sha256(f"{source}{told}".encode()).digest()[:KEY_BYTES]
        rows.append((
            position, stream_id, version, type_id, class_version, time, recordedtime, source_id,
            id_, key, extensions, data, payload_hash, digest,
        ))  # fmt: skip
        if len(rows) == _BATCH:
            yield rows
            rows = []
    if rows:
        yield rows


def _told(rows: Any) -> dict[int | None, str]:
    """Return the names of one kind as a row's hash covers them, by number."""
    return {number: "".join(f"{len(name)}:{name}" for name in names) for number, *names in rows}
