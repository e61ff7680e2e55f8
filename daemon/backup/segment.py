"""Segments: stretches of the log, sealed, small and whole in themselves.

A segment is an SQLite database with the rows of its events and every name that they use, so that
each can be read alone. What follows from the rest of a row is left out: half of a row is digests,
which do not compress. Dead letters travel in objects of the same make.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import apsw
import zstandard

from daemon.backup.container import LEVEL, Header, read_header
from daemon.backup.errors import AlreadyThere, ObjectDamaged
from daemon.backup.names import Range, read_range
from daemon.backup.store import ObjectStore
from daemon.eventlog.chain import genesis
from daemon.eventlog.connection import BUSY_TIMEOUT_MS, SCHEMA_VERSION
from daemon.eventlog.statements import named_statements
from daemon.release import PROGRAM_VERSION
from domain.limits import INTEGER_MAX

SQL: Final = named_statements(Path(__file__).with_name("segment.sql"))
BYTES_MAX: Final = 32 << 20
"""A segment ends when its payloads have so many bytes; one larger event has a segment alone."""
EVENTS_MAX: Final = 50_000
"""A segment ends at so many events."""
LETTERS_MAX: Final = 5_000
_REFUSED: Final = (
    *(apsw.FullError, apsw.IOError, apsw.NoMemError, apsw.CantOpenError, apsw.ReadOnlyError),
    *(apsw.BusyError, apsw.LockedError, apsw.InterruptError),
)
"""What the disk and the memory refuse, which says nothing of a segment."""
_MISFITS: Final = (apsw.Error, LookupError, TypeError, ValueError, AttributeError)
"""What rows raise that are not of the kind that a segment has."""
RAW_BYTES_MAX: Final = 1 << 30
"""No segment is larger than this; one that says so is damaged."""


class Sealed(NamedTuple):
    """A segment as it is stored."""

    header: Header
    content: bytes

    @property
    def metadata(self) -> dict[str, str]:
        """What the store keeps beside it."""
        return self.header.metadata(sha256(self.content).hexdigest())


class Source:
    """A log whose events are sealed; it is only read, a bounded stretch at a time."""

    def __init__(self, path: Path, log_id: str) -> None:
        self._uri = f"file:{quote(str(path))}?mode=ro"
        self._log_id = log_id

    def seal(
        self,
        epoch: int,
        after: int,
        *,
        events_max: int = EVENTS_MAX,
        digest: str = "",
        upto: int = INTEGER_MAX,
    ) -> Sealed | None:
        """Return a segment of the events after a position, None when there are no more up to one.

        ``digest`` is that of the chain there, where the log itself may not know it any more.
        Where it reaches the newest event it also has how far followed files were read, and what
        applications have tracked.

        Raises:
            apsw.Error: the log cannot be read.

        """
        with self._attached() as db:
            last = _end(db.execute(SQL["sizes_after"], (after, upto, events_max)))
            if last is None:
                return None
            head: Any = db.execute(SQL["log_head"]).get
            at_end: Any = db.execute(SQL["log_digest"], (last,)).get
            db.create_scalar_function("sha256", _sha256, 1, deterministic=True)
            db.execute(SQL["schema"])
            db.execute(SQL["fill_events"], (after, last))
            db.execute(SQL["fill_runs"], (after, last))
            db.execute(SQL["fill_keys"], (after, last))
            db.execute(SQL["fill_names"])
            if last == head:
                db.execute(SQL["fill_places"])
            counted: Any = db.execute(SQL["counted"]).fetchone()
            return self._sealed(
                db, "segment", epoch, after + 1, last, counted[0], head=head,
                digest_before=self._digest_before(db, after) or digest,
                digest_after=at_end.hex(),
                recorded_first=counted[1], recorded_last=counted[2],
            )  # fmt: skip

    def seal_letters(self, epoch: int, after: int) -> Sealed | None:
        """Return the dead letters after an id, None when there are no more."""
        with self._attached() as db:
            last = _end(db.execute(SQL["letter_sizes"], (after, LETTERS_MAX)))
            if last is None:
                return None
            db.execute(SQL["letters_schema"])
            db.execute(SQL["fill_letters"], (after, last))
            count = db.execute("SELECT count(*) FROM main.dead_letters").get
            return self._sealed(db, "letters", epoch, after + 1, last, count)

    @contextmanager
    def _attached(self) -> Iterator[apsw.Connection]:
        """Lend a database in memory with the log beside it, both at one moment."""
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
        with closing(apsw.Connection(":memory:", flags=flags)) as db:
            db.set_busy_timeout(BUSY_TIMEOUT_MS)
            db.execute("ATTACH ? AS log", (self._uri,))
            db.execute("BEGIN")
            yield db

    def _digest_before(self, db: apsw.Connection, after: int) -> str:
        """Return the digest as of a position; empty where events around it were removed."""
        found: Any = db.execute(SQL["log_digest"], (after,)).get
        if found is None and not db.execute(SQL["is_within_run"], (after,)).get:
            # The end of a stretch that was lost, or the beginning of the log.
            found = db.execute(SQL["log_digest_before"], (after,)).get or genesis(self._log_id)
        return found.hex() if found else ""

    def _sealed(
        self,
        db: apsw.Connection,
        kind: Any,
        epoch: int,
        first: int,
        last: int,
        count: Any,
        **digests: Any,
    ) -> Sealed:
        db.execute("COMMIT")
        return seal(
            db.serialize("main"),
            Header(
                kind=kind, log_id=self._log_id, epoch=epoch, schema_version=SCHEMA_VERSION,
                release=PROGRAM_VERSION, first=first, last=last, count=count, raw_bytes=0,
                raw_sha256="", **digests,
            ),
        )  # fmt: skip


def seal(database: bytes, header: Header) -> Sealed:
    """Return a database as it is stored, under a header that gets its size and checksum."""
    told = {"raw_bytes": len(database), "raw_sha256": sha256(database).hexdigest()}
    header = header.model_copy(update=told)
    compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
    return Sealed(header, header.frame() + compressor.compress(database))


def store_sealed(store: ObjectStore, sealed: Sealed) -> None:
    """Store a segment under the name that its header gives it.

    An earlier run may have stored the same events: what is beside them may have gone on since.

    Raises:
        AlreadyThere: other events have that name.

    """
    header, size = sealed.header, len(sealed.content)
    range_ = Range(header.first, header.last, header.epoch)
    name = range_.letters if header.kind == "letters" else range_.segment
    try:
        store.put_if_absent(name, io.BytesIO(sealed.content), size, sealed.metadata)
    except AlreadyThere:
        stored = store.find(name)
        there = Header.of_metadata(stored.metadata) if stored else None
        if there is None or there.digest_after != header.digest_after:
            raise


def merge(segments: Iterable[Sealed], epoch: int) -> Sealed:
    """Return one segment that holds what some that follow each other hold.

    Raises:
        ObjectDamaged: one of them is none.

    """
    parts = list(segments)
    with reading("a segment"), closing(apsw.Connection(":memory:")) as db:
        db.execute(SQL["schema"])
        db.execute("ATTACH ':memory:' AS other")
        for part in parts:
            hold(db, "other", unsealed(part.content, "a segment")[1], "a segment")
            db.execute(SQL["merge"])
        told = {
            "epoch": epoch,
            "last": parts[-1].header.last,
            "digest_after": parts[-1].header.digest_after,
            "recorded_last": parts[-1].header.recorded_last,
            "head": min(part.header.head for part in parts),
            "count": sum(part.header.count for part in parts),
        }
        return seal(db.serialize("main"), parts[0].header.model_copy(update=told))


def unsealed(content: bytes, name: str) -> tuple[Header, bytes]:
    """Return the header and the database of a stored segment.

    Raises:
        ObjectDamaged: it is not what was stored.
        NewerSchema: a newer release wrote it.

    """
    header, end = read_header(content, name)
    if read_range(name) not in (None, Range(header.first, header.last, header.epoch)):
        raise ObjectDamaged(f"{name} holds something else than its name says")
    if header.raw_bytes > RAW_BYTES_MAX:
        raise ObjectDamaged(f"{name} cannot be as large as it says")
    packed = content[end:]
    try:
        # What the frame says of its size is believed by the decompressor.
        if zstandard.frame_content_size(packed) != header.raw_bytes:
            raise ObjectDamaged(f"{name} does not have the size that it says")
        database = zstandard.ZstdDecompressor().decompress(packed)
    except zstandard.ZstdError:
        raise ObjectDamaged(f"{name} cannot be decompressed") from None
    if sha256(database).hexdigest() != header.raw_sha256:
        raise ObjectDamaged(f"{name} does not hold what was stored: its checksum differs")
    return header, database


def hold(db: apsw.Connection, schema: str, database: bytes, name: str) -> None:
    """Put the database of a segment in the place of an attached one.

    It comes from the store, so that nothing in it may be a program: a view or a generated column
    would run, and run on, where it is read.

    Raises:
        ObjectDamaged: it has more than tables with values, or is no database.

    """
    if not database:
        raise ObjectDamaged(f"{name} holds nothing")
    try:
        db.deserialize(schema, database)
        foreign: Any = db.execute(SQL["foreign_parts"], (schema,)).get
        if not foreign:
            db.execute(SQL["complete"].replace("${schema}", schema))
    except apsw.NoMemError:
        raise
    except (apsw.Error, UnicodeDecodeError):
        # It is in memory: there is no disk that could have refused.
        raise ObjectDamaged(f"{name} does not hold a database") from None
    if foreign:
        raise ObjectDamaged(f"{name} holds more than a segment does")


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Read the rows of a segment: whatever they are, what they raise is damage.

    Raises:
        ObjectDamaged: they are not what a segment has.

    """
    try:
        yield
    except _REFUSED:
        raise
    except _MISFITS as error:
        raise ObjectDamaged(f"{name} cannot be read: {type(error).__name__}") from None


def last_recorded(content: bytes, name: str, moment: int) -> int | None:
    """Return the last position in a segment that was recorded at or before a moment."""
    with reading(name), closing(apsw.Connection(":memory:")) as db:
        db.execute("ATTACH ':memory:' AS segment")
        hold(db, "segment", unsealed(content, name)[1], name)
        sql = "SELECT max(position) FROM segment.events WHERE recordedtime <= ?"
        found: Any = db.execute(sql, (moment,)).get
    return found if isinstance(found, int) else None


def _end(sizes: Iterable[Any]) -> int | None:
    """Return where a stretch ends that has a bounded size; None where nothing is left."""
    last, total = None, 0
    for at, size in sizes:
        total += size
        if last is not None and total > BYTES_MAX:
            break
        last = at
    return last


def _sha256(*values: Any) -> bytes:
    return sha256(values[0]).digest()
