"""Importing history: an export becomes a log again, every event at its old place.

The log is built beside, as ``log.db.import``, and takes its name when all of it is known to be
right. So there is never half a log, whenever the import ends.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Final, cast

import apsw

from daemon.backup.settling import begin_unsettled, settle_decided
from daemon.eventlog.chain import genesis
from daemon.eventlog.connection import SCHEMA_VERSION, close, open_writer, translate
from daemon.eventlog.known import Known
from daemon.eventlog.redactions import redactions
from daemon.eventlog.statements import SQL
from daemon.eventlog.structure import verify_structure
from daemon.eventlog.transaction import Transaction
from daemon.lock import DataDirectory
from daemon.release import PROGRAM_VERSION, release_order
from daemon.replay.bounds import Header, Trailer
from daemon.replay.checkpoints import remove_database
from daemon.replay.lines import Batch, Damage
from daemon.syncing import sync
from domain.epochs import stream_of
from domain.errors import (
    ChronicledError,
    HistoryConflict,
    Invalid,
    NewerEvent,
    NewerSchema,
    Undecodable,
)
from domain.historic import HistoricEvent

BUILDING: Final = "log.db.import"
"""The name of a log that is being built."""
CACHE_KIB: Final = 64 * 1024
"""The page cache while a log is built: its indexes are written all over."""

Progress = Callable[[int, int], None]
"""Called with the events done so far and those there are."""
_LINES_BEFORE: Final = 2
"""The line of the first event: what is before it, and 1."""
_HINT: Final = (
    "Nothing was imported. Export again; the events of what is not a whole history can be appended "
    "through a running daemon by --append."
)
_STORED: Final = (
    "SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM dead_letters)"
    " + (SELECT count(*) FROM follows) + (SELECT count(*) FROM snapshots)"
    " + (SELECT count(*) FROM tracking) + (SELECT count(*) FROM sqlite_sequence)"
)


def import_history(
    batches: Iterator[Header | Batch], data: Path, *, progress: Progress | None = None
) -> Trailer:
    """Make the log of a data directory from an export of a whole history.

    ``batches`` are those of `daemon.replay.lines.read_batches`.

    Raises:
        DirectoryLocked: a daemon runs on the directory.
        HistoryConflict: its log is not empty.
        Undecodable, Invalid, NewerEvent, NewerSchema: the export is damaged, is not a whole
            history, or is of a newer release; the line is named.

    """
    with DataDirectory.acquire(data) as directory:
        building = directory.path / BUILDING
        remove_database(building)
        try:
            _require_empty(directory.log_path)
            trailer = _build(building, batches, progress)
            remove_database(directory.log_path)
            building.rename(directory.log_path)
        except apsw.Error as error:
            raise translate(error) from error
        finally:
            remove_database(building)
        sync(directory.path)
    return trailer


def _require_empty(path: Path) -> None:
    if not path.exists():
        return
    # Opened to write: what a crash left in the write-ahead log belongs to it.
    with closing(open_writer(str(path))) as db:
        if db.execute(_STORED).get:
            raise HistoryConflict(
                f"{path} is not empty",
                hint="Import into a directory without a log, or use --append.",
            )


def _build(path: Path, batches: Iterator[Header | Batch], progress: Progress | None) -> Trailer:
    header = next(batches)
    assert isinstance(header, Header)  # noqa: S101  it comes first
    _check_header(header)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    db = open_writer(str(path), synchronous="OFF")
    try:
        # Until it has its name nobody else opens it, and what is half done is thrown away.
        db.pragma("locking_mode", "exclusive")
        db.pragma("journal_mode", "memory")
        db.pragma("cache_size", -CACHE_KIB)
        _introduce(db, header)
        redacted: dict[int, str] = {}
        trailer = _fill(db, header, cast("Iterator[Batch]", batches), progress, redacted)
        _settle(db, header, redacted)
        db.pragma("journal_mode", "wal")
        for finding in verify_structure(db):
            raise Invalid(f"the log that was built is not right: {finding.detail}")
    finally:
        close(db)
    sync(path)
    return trailer


def _settle(db: apsw.Connection, header: Header, redacted: Mapping[int, str]) -> None:
    """Have a log with gaps go on where it was, and see that redacted events are said to be so.

    What was asked to be removed is asked for again; the keys of what was removed are not known.
    """
    said = redactions(db, stream_of(header.log_id))
    for position, payload_hash in redacted.items():
        if said.get(position) != payload_hash:
            raise Invalid(f"event {position} is not what its redaction left of it", hint=_HINT)
    begin_unsettled(db, 0)
    settle_decided(db, header.log_id)


def _check_header(header: Header) -> None:
    if header.log_schema > SCHEMA_VERSION:
        raise NewerSchema(f"the export is of a log with schema {header.log_schema}")
    if header.first != 1 or header.stream is not None:
        raise _partial("it does not begin with the first event, or is of one stream")
    if header.digest_before != genesis(header.log_id).hex():
        raise Invalid("line 1: digest_before is not that of an empty log of this id")


def _partial(why: str) -> Invalid:
    return Invalid(f"the export is not a whole history: {why}", hint=_HINT)


def _introduce(db: apsw.Connection, header: Header) -> None:
    release = max(header.release, PROGRAM_VERSION, key=release_order)
    db.executemany(
        SQL["set_meta"],
        [
            ("log_id", header.log_id),
            ("epoch", header.epoch),
            ("created", header.created),
            ("release", release),
        ],
    )


def _fill(
    db: apsw.Connection,
    header: Header,
    batches: Iterator[Batch],
    progress: Progress | None,
    redacted: dict[int, str],
) -> Trailer:
    """Write all events; return the trailer, which says what was written.

    ``redacted`` gets those with another payload than was recorded, and the hash that it has.
    """
    known, count = Known.read(db, header.log_id), 0
    for events, end in batches:
        first = count + _LINES_BEFORE
        # What is wrong in the events before a damaged line is found first.
        _write(db, known, events, first, header)
        count += len(events)
        # They may be plain tuples: they came from another process.
        for _, _, _, _, data, _, _, position, _, _, _, _, recorded, _, _, _ in events:
            payload_hash = sha256(data)
            if payload_hash.digest() != recorded:
                redacted[position] = payload_hash.hexdigest()
        if isinstance(end, Damage):
            raise _located(end.error, end.line, header)
        if progress is not None:
            progress(known.head.position, header.last)
        if end is not None:
            _check_end(header, end, known, count)
            return end
    raise Undecodable("the export has no end")


def _write(
    db: apsw.Connection,
    known: Known,
    batch: Sequence[HistoricEvent],
    first_line: int,
    header: Header,
) -> None:
    """Write events in one transaction; where a key is there already, look for which one it is."""
    for careful in (False, True):
        transaction = Transaction(db, known, 0, careful=careful)
        db.execute("BEGIN")
        try:
            transaction.append_history(batch, header.log_id)
            transaction.flush()
            db.execute("COMMIT")
        except Invalid as error:
            raise _located(error, first_line + (error.errors[0].index or 0), header) from None
        except apsw.ConstraintError:
            db.execute("ROLLBACK")
            transaction.undo()
            if careful:
                raise
        else:
            transaction.committed()
            return


def _check_end(header: Header, trailer: Trailer, known: Known, count: int) -> None:
    told = trailer.model_dump(include=set(Header.model_fields))
    position, digest = known.head[:2]
    for wrong, detail in (
        (told != header.model_dump(), "it is not of the same log or positions as the first line"),
        (
            (trailer.count, trailer.last) != (count, position),
            f"{count} events came before, the last at position {position}",
        ),
        (trailer.digest != digest.hex(), f"the digest is {digest.hex()}"),
        (not trailer.complete, "the export is not a whole history"),
    ):
        if wrong:
            raise _located(Invalid(detail), count + _LINES_BEFORE, header)


def _located(error: ChronicledError, line: int, header: Header) -> ChronicledError:
    """Return an error that names the line, and what can be done."""
    detail = f"line {line}: {error.detail}"
    if isinstance(error, NewerEvent):
        return NewerEvent(f"{detail}; the log was written by release {header.release}")
    return type(error)(detail, errors=error.errors, hint=_HINT)
