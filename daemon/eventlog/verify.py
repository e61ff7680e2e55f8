"""Proof that every row of the log is what was recorded: payload, chain, order, names and keys.

A row that does not fit is looked at once more, slowly, to say what is wrong with it; then the proof
goes on from the digest that is stored there, so that what follows is not blamed for it. Where a
page of rows cannot be read, its positions are read one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any, Final

import apsw

from daemon.eventlog import chain
from daemon.eventlog.findings import UNREADABLE, Findings, raise_unless_damage, told
from daemon.eventlog.redactions import redactions
from daemon.eventlog.requests import Finding
from daemon.eventlog.statements import SQL
from domain.epochs import RESTORED, complete_to, stream_of
from domain.limits import INTEGER_MAX
from domain.prepared import KEY_BYTES, event_key

TAIL_EVENTS: Final = 1000
"""How many of the newest events are verified at each start."""
UNREADABLE_MAX: Final = 200_000
"""After so many positions in a row that cannot be read the proof ends there."""
NAMES_MAX: Final = 100_000
"""How many streams are remembered; as many types and sources."""
_RESTORED: Final = f"{len(RESTORED)}:{RESTORED}"
_PAGE: Final = 2000
_ONE_BY_ONE: Final = 500

_COLUMNS: Final = (
    ("position", int), ("stream_id", int), ("version", int), ("type_id", int),
    ("class_version", int), ("time", int), ("recordedtime", int), ("source_id", int | None),
    ("id", str | None), ("extensions", str | None), ("data", bytes), ("payload_hash", bytes),
    ("digest", bytes), ("event_key", bytes | None),
)  # fmt: skip

Progress = Callable[[int, int], None]
"""Called with the events done so far and the events there are."""


def verify_rows(
    db: apsw.Connection, log_id: str, *, after: int = 0, progress: Progress | None = None
) -> list[Finding]:
    """Verify every row after a position and return what is wrong.

    Pages by position, so that it holds no long read transaction while the daemon writes.
    """
    proof = RowProof(db, log_id, after)
    proof.run(progress)
    return proof.findings.list()


class _Unreadable(Exception):
    """Rows could not be read: why."""


class _Names(dict[int, Any]):
    """The names behind numbers, in the form in which a hash covers them, loaded when asked for."""

    def __init__(self, load: Callable[[int], Any]) -> None:
        super().__init__()
        self._load = load

    def __missing__(self, number: int) -> Any:
        found = self._load(number)
        if len(self) >= NAMES_MAX:
            self.clear()
        self[number] = found
        return found


class RowProof:
    """Goes over the rows of a log: how far it is, and how many events it has seen."""

    def __init__(self, db: apsw.Connection, log_id: str, after: int = 0) -> None:
        self.findings = Findings()
        self._db = db
        self._types = {"": _Names(lambda number: self._type("", number))}
        self._streams = _Names(self._stream)
        self._sources = _Names(self._source)
        self._sources[None] = "0:"  # type: ignore[index]
        self._rival: bytes | None = None
        self._redacted: dict[int, str] = {}
        self._redacted_upto: int | None = -1
        own = self._name = stream_of(log_id)
        self._own = f"0:{len(own)}:{own}"
        self._empty = 0
        self.used = self._number(SQL["last_used_position"]) or 0
        # Beside a writer the proof ends where the log ended when it began.
        newest = self._number(SQL["newest_position"])
        self._end = INTEGER_MAX if newest is None else max(newest, self.used)
        self.position = self.events = 0
        self._digest: bytes | None = chain.genesis(log_id)
        self._recorded = 0
        if after > 0:
            self._anchor(after)

    def run(self, progress: Progress | None = None) -> None:
        """Verify the rows after the present position, to where the log ended at the beginning."""
        after, unreadable = self.position, 0
        while self.position < self._end:
            before = self.position
            try:
                rows = self._db.execute(SQL["rows_after"], (after, _PAGE))
                if not self._verify(rows):
                    break
                after = max(after + 1, self._next_after(before))
                unreadable = 0
            except (*UNREADABLE, _Unreadable) as error:
                raise_unless_damage(error)
                after = max(after, self.position)
                read = self._one_by_one(after)
                after = max(after + _ONE_BY_ONE, self.position)
                unreadable = 0 if read else unreadable + _ONE_BY_ONE
                if after >= self.used and not read:
                    break
                if unreadable >= UNREADABLE_MAX:
                    self.findings.add("unreadable", "the rest of the log was not read", after + 1)
                    return
            if progress is not None:
                progress(self.position, max(self.used, self.position))
        if self.position < self.used:
            self.findings.add(
                "missing",
                f"positions {self.position + 1} to {self.used} were used and are gone",
                self.position + 1,
            )

    def _next_after(self, before: int) -> int:
        """Return where to read on: not behind a row that only pretends to be far on."""
        expected = before + _PAGE + self._empty
        self._empty = 0
        if self.position > expected:
            following = self._db.execute(SQL["position_after"], (expected,)).get
            if following is not None and following < self.position:
                return expected
        return self.position

    def _verify(self, rows: Iterable[Any]) -> bool:
        """Verify rows that follow the present position; return whether there were any.

        This is the dearest loop of all proof: it only tells rows that fit from rows that do not.
        """
        rows, row, found, count = iter(rows), None, False, 0
        streams, sources = self._streams, self._sources
        while True:
            before, digest, recorded = self.position, self._digest, self._recorded
            try:
                for row in rows:
                    (position, stream_id, version, type_id, class_version, time,
                     recordedtime, source_id, event_id, extensions, data, payload_hash,
                     stored, key) = row  # fmt: skip
                    stream, types = streams[stream_id]
                    source = sources[source_id]
                    id_, extra = event_id or "", extensions or ""
                    hashed = sha256(data).digest()
                    text = (
                        f"{position} {version} {class_version} {time} {recordedtime} {stream}"
                        f"{types[type_id]}{source}{len(id_)}:{id_}{len(extra)}:{extra}"
                    ).encode()
                    fits = (
                        position == before + 1
                        and hashed == payload_hash
                        and recordedtime >= recorded
                        and digest is not None
                        and sha256(digest + sha256(text + hashed).digest()).digest() == stored
                        and key
                        == (
                            sha256(f"{source}{id_}".encode()).digest()[:KEY_BYTES]
                            if source_id is not None or event_id is not None
                            else None
                        )
                    )
                    if not fits:
                        break
                    before, digest, recorded, row, found = (
                        position,
                        stored,
                        recordedtime,
                        None,
                        True,
                    )
                    count += 1
                else:
                    self._stand(before, digest, recorded)
                    self.events += count
                    return found
            except (TypeError, ValueError, LookupError, OverflowError, apsw.Error) as error:
                if row is None:
                    # The rows themselves could not be read on.
                    raise_unless_damage(error)
                    self._stand(before, digest, recorded)
                    self.events += count
                    raise _Unreadable(told(error)) from error
            self._stand(before, digest, recorded)
            self._look_at(row)
            row, found, count = None, True, count + 1

    def _stand(self, position: int, digest: bytes | None, recorded: int) -> None:
        if position != self.position:
            self._rival = None
        self.position, self._digest, self._recorded = position, digest, recorded

    def _one_by_one(self, after: int) -> int:
        """Verify the next positions each for itself; return how many could be read."""
        read = 0
        for position in range(after + 1, after + 1 + _ONE_BY_ONE):
            try:
                row = self._db.execute(SQL["row_at"], (position,)).fetchone()
            except UNREADABLE as error:
                raise_unless_damage(error)
                self.findings.add("unreadable", f"it cannot be read: {told(error)}", position)
                self._stand(position, *self._rest_of(position))
            else:
                if row is not None:
                    read += 1
                    self._verify([row])
        return read

    def _rest_of(self, position: int) -> tuple[bytes | None, int]:
        """Return the digest and time of a row that cannot be read, if those can be."""
        sql = "SELECT digest, recordedtime FROM events WHERE position = ?"
        try:
            digest, recorded = self._db.execute(sql, (position,)).fetchone() or (None, None)
        except UNREADABLE:
            return None, self._recorded
        return (
            digest if isinstance(digest, bytes) else None,
            recorded if isinstance(recorded, int) else self._recorded,
        )

    def _anchor(self, after: int) -> None:
        """Begin after a position, with the digest that is stored there."""
        sql = (
            "SELECT position, digest, recordedtime FROM events WHERE position <= ? "
            "ORDER BY position DESC LIMIT 1"
        )
        try:
            row = self._db.execute(sql, (after,)).fetchone()
        except UNREADABLE as error:
            raise_unless_damage(error)
            self.position, self._digest = after, None
            return
        if row is not None:
            self.position, self._digest, self._recorded = row

    def _number(self, sql: str) -> int | None:
        """Return the number that a statement gives; None for none, or where it is damaged."""
        try:
            found = self._db.execute(sql).get
        except UNREADABLE as error:
            raise_unless_damage(error)
            return None
        return found if isinstance(found, int) else None

    # -- a row that does not fit -----------------------------------------------------------------

    def _look_at(self, row: Any) -> None:
        """Say what is wrong with a row, and go on behind it."""
        add, position, stored, recorded = self.findings.add, row[0], row[12], row[6]
        self._pass_removed(position)
        expected = self.position + 1
        usual = True
        kept = self._complete_to(row) if position > expected else None
        if kept is not None and expected <= kept + 1 < position:
            # An epoch begins here: what stood after `kept` was lost, and that is no finding.
            self._empty += position - kept - 1
            if kept == self.position:
                expected = position
        if position > max(self.used, expected):
            add("order", f"position {position} stands where {expected} has to be", expected)
            usual = False
        elif position > expected:
            last = kept if kept is not None and expected <= kept < position else position - 1
            add("gap", f"positions {expected} to {last} are missing", expected)
            usual = False
        elif position < expected:
            add("order", "the position comes after a greater one", position)
            usual = False
        whole = self._values_fit(row, position)
        computed = self._look_at_chain(row, position, usual) if whole else None
        if isinstance(recorded, int):
            if recorded < self._recorded:
                add("time", "recordedtime goes backwards", position)
            self._recorded = recorded
        self.position = expected if position > max(self.used, expected) else position
        self._digest = stored if isinstance(stored, bytes) else None
        self._rival = computed

    def _pass_removed(self, position: int) -> None:
        """Go on behind the runs of removed rows that lie right before a row."""
        while self.position + 1 < position:
            run: Any = self._row(SQL["run_from"], self.position + 1)
            if run is None or not (self.position < run[0] < position):
                return
            self._empty += run[0] - self.position
            self.position, self._rival = run[0], None
            self._digest = run[1] if isinstance(run[1], bytes) else None

    def _complete_to(self, row: Any) -> int | None:
        """Return up to where nothing is lost, where a row begins an epoch of this log."""
        data = row[10]
        try:
            stream, types = self._streams[row[1]]
            begins = stream == self._own and types[row[3]] == _RESTORED
        except (LookupError, TypeError):
            return None
        return complete_to(data) if begins and isinstance(data, bytes) else None

    def _values_fit(self, row: Any, position: int) -> bool:
        wrong = [
            f"{column} is {type(value).__name__}"
            for (column, kind), value in zip(_COLUMNS, row, strict=True)
            if not isinstance(value, kind)
        ]
        if wrong:
            self.findings.add("value", f"{', '.join(wrong)}; it was stored otherwise", position)
        return not wrong

    def _look_at_chain(self, row: Any, position: int, usual: bool) -> bytes | None:
        """Say what of a row the digests do not cover; return the digest it ought to have."""
        (_, stream_id, version, type_id, class_version, time, recordedtime, source_id, event_id,
         extensions, data, payload_hash, stored, key) = row  # fmt: skip
        add = self.findings.add
        try:
            stream, types = self._streams[stream_id]
            names = f"{stream}{types[type_id]}", self._sources[source_id]
        except LookupError as error:
            add("name", f"the {error.args[0]} of the event is unknown", position)
            return None
        id_, extra = event_id or "", extensions or ""
        text = (
            f"{position} {version} {class_version} {time} {recordedtime} {names[0]}{names[1]}"
            f"{len(id_)}:{id_}{len(extra)}:{extra}"
        ).encode()
        hashed = sha256(data).digest()
        # When the digest before was changed itself, the row follows from what it ought to be.
        anchors = [each for each in (self._digest, self._rival) if each is not None]
        row_hashes = [sha256(text + each).digest() for each in (hashed, payload_hash)]
        follows = [
            any(chain.chained(anchor, each) == stored for anchor in anchors) for each in row_hashes
        ]
        if hashed != payload_hash and self._redaction_of(position) != hashed.hex():
            add("payload", "the payload is not what was recorded", position)
        if not any(follows) and anchors and usual:
            add("chain", "the digest does not follow from the row", position)
        keyed = source_id is not None or event_id is not None
        source = names[1].partition(":")[2]
        if key != (event_key(source, id_) if keyed else None):
            add("key", "the key is not that of (source, id)", position)
        broken = not any(follows) and self._digest is not None and usual
        return chain.chained(self._digest, row_hashes[0]) if broken and self._digest else None

    def _redaction_of(self, position: int) -> str | None:
        """Return the hash that the payload of an event has since a value was taken out of it."""
        newest = self._number(SQL["newest_position"])
        if newest != self._redacted_upto:
            # Beside a writer there may be more of them than a moment ago.
            self._redacted_upto = newest
            try:
                self._redacted = redactions(self._db, self._name)
            except UNREADABLE as error:
                raise_unless_damage(error)
        return self._redacted.get(position)

    # -- names -----------------------------------------------------------------------------------

    def _stream(self, number: int) -> tuple[str, _Names]:
        """Return how a hash covers a stream, and the types of its application."""
        sql = "SELECT application, name FROM streams WHERE stream_id = ?"
        row = self._row(sql, number)
        if row is None or not all(isinstance(each, str) for each in row):
            raise LookupError("stream")
        application, name = row
        types = self._types.get(application)
        if types is None:
            types = _Names(lambda number: self._type(application, number))
            if len(self._types) < NAMES_MAX:
                self._types[application] = types
        return f"{len(application)}:{application}{len(name)}:{name}", types

    def _type(self, application: str, number: int) -> str:
        sql = "SELECT application, name FROM types WHERE type_id = ?"
        row = self._row(sql, number)
        if row is None or row[0] != application or not isinstance(row[1], str):
            raise LookupError("type")
        return f"{len(row[1])}:{row[1]}"

    def _source(self, number: int) -> str:
        row = self._row("SELECT name FROM sources WHERE source_id = ?", number)
        if row is None or not isinstance(row[0], str):
            raise LookupError("source")
        return f"{len(row[0])}:{row[0]}"

    def _row(self, sql: str, number: int) -> Any:
        try:
            return self._db.execute(sql, (number,)).fetchone()
        except UNREADABLE as error:
            raise_unless_damage(error)
            return None
