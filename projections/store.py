"""``views.db`` as the runner writes it: the file itself, and the register of generations.

Everything in it is derived from the log, so no fault of the file is fatal: one that is damaged or
newer than this program is moved away, one of another log is removed, and a fresh one is made.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw

from domain.epochs import kept_of
from domain.errors import ChronicledError, DiskFull, StorageFailed
from projections.seam import Feed, Projection, ProjectionStatus
from projections.sql import named_statements

APPLICATION_ID: Final = 0x63687276
"""``application_id`` of a views file: "chrv"."""
SCHEMA_VERSION: Final = 3
"""``user_version`` of the tables in ``store.sql``."""
BUSY_TIMEOUT_MS: Final = 10_000
"""How long a connection waits for a lock held elsewhere (milliseconds)."""
NO_VERSION: Final = -1
"""The version of tables that are filled out of order: no program goes on with them."""

DAMAGED: Final = (apsw.CorruptError, apsw.NotADBError)
"""What SQLite raises when the file is not what it wrote."""
STORAGE: Final = (
    apsw.FullError, apsw.IOError, apsw.ReadOnlyError, apsw.BusyError, apsw.LockedError,
    apsw.CantOpenError, apsw.PermissionsError, apsw.NoMemError, apsw.ProtocolError, *DAMAGED,
)  # fmt: skip
"""What SQLite raises when the file or the disk is at fault, and not a statement."""

_SQL = named_statements("store.sql")
_GENERATION = re.compile(r"g(\d+)_")
_INDEX = re.compile(r"^ *CREATE INDEX (\w+)[^;]*;\n?", re.MULTILINE)
_ANY_INDEX = re.compile(r"^ *CREATE (?:UNIQUE )?INDEX (\w+)[^;]*;\n?", re.MULTILINE)
_logger = logging.getLogger(__name__)


class _UnusableError(Exception):
    """The file cannot be gone on with: why, and the suffix it is kept under, if it is kept."""

    def __init__(self, why: str, suffix: str | None) -> None:
        super().__init__(why)
        self.suffix = suffix


class Generation(NamedTuple):
    """One set of tables of a projection: the live ones, or a build."""

    number: int
    name: str
    live: bool
    version: int
    position: int = 0
    digest: bytes | None = None
    recordedtime: int | None = None
    tables: str = ""
    error: str | None = None
    failed_position: int | None = None

    @property
    def prefix(self) -> str:
        """The prefix of its tables' names."""
        return "" if self.live else f"g{self.number}_"


def translate(error: apsw.Error) -> ChronicledError:
    """Return our error for one of SQLite's."""
    if isinstance(error, apsw.FullError):
        return DiskFull("the disk of the views is full")
    return StorageFailed(f"the views could not be read or written: {error}")


def open_store(path: Path, feed: Feed, *, synchronous: str = "NORMAL") -> Store:
    """Open the views of a log, making them afresh when there are none that fit.

    Raises:
        StorageFailed, DiskFull: the disk refused.

    """
    try:
        try:
            return _open(path, feed, synchronous)
        except _UnusableError as unusable:
            _logger.warning("%s: %s; the views are built afresh", path, unusable)
            put_aside(path, unusable.suffix)
            return _open(path, feed, synchronous)
        except DAMAGED as error:
            _logger.warning("%s is damaged (%s); the views are built afresh", path, error)
            put_aside(path, "damaged")
            return _open(path, feed, synchronous)
    except apsw.Error as error:
        raise translate(error) from error


def file_at(path: Path) -> tuple[int, int] | None:
    """Return which file a path leads to now, None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def put_aside(path: Path, suffix: str | None) -> None:
    """Move the file away under a suffix, over an earlier one; or remove it."""
    for part in ("", "-wal", "-shm"):
        old = path.with_name(path.name + part)
        if suffix is None:
            old.unlink(missing_ok=True)
        elif old.exists():
            old.replace(path.with_name(f"{path.name}.{suffix}{part}"))


def _open(path: Path, feed: Feed, synchronous: str) -> Store:
    connection = apsw.Connection(str(path))
    try:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        if _is_empty(connection):
            _create(connection, feed)
        else:
            _check(connection, feed)
        connection.pragma("synchronous", synchronous)
        connection.pragma("secure_delete", 1)
        connection.pragma("wal_autocheckpoint", 16000)
        connection.pragma("journal_size_limit", 64 * 1024 * 1024)
        connection.pragma("cache_size", -32 * 1024)
    except BaseException:
        connection.close()
        raise
    return Store(path, connection)


def _is_empty(connection: apsw.Connection) -> bool:
    """Whether the file is new; what another program keeps there is left to `_check`."""
    names = ("application_id", "user_version", "schema_version")
    return all(connection.pragma(name) == 0 for name in names)


def _create(connection: apsw.Connection, feed: Feed) -> None:
    # auto_vacuum stays 0 when it is set after WAL mode.
    _set(connection, "page_size", 4096)
    _set(connection, "auto_vacuum", 2)
    _set(connection, "journal_mode", "wal")
    with connection:
        connection.execute(_SQL["schema"])
        whose = [("log_id", feed.log_id), ("epoch", feed.epoch), ("head", 0)]
        connection.executemany(_SQL["write_meta"], whose)
        _set(connection, "application_id", APPLICATION_ID)
        _set(connection, "user_version", SCHEMA_VERSION)
    _expect(connection, "auto_vacuum", 2)


def _set(connection: apsw.Connection, name: str, value: str | int) -> None:
    connection.pragma(name, value)
    _expect(connection, name, value)


def _expect(connection: apsw.Connection, name: str, value: str | int) -> None:
    present = connection.pragma(name)
    if present != value:
        raise StorageFailed(f"SQLite kept {name} = {present!r}, wanted {value!r}")


def _check(connection: apsw.Connection, feed: Feed) -> None:
    """Find out whether these are views of this log that this program can go on with."""
    if connection.pragma("application_id") != APPLICATION_ID:
        raise _UnusableError("not a views file", "damaged")
    version = connection.pragma("user_version")
    if version > SCHEMA_VERSION:
        raise _UnusableError(f"schema {version}, this program knows {SCHEMA_VERSION}", "newer")
    if version < SCHEMA_VERSION:
        raise _UnusableError(f"schema {version}, this program has {SCHEMA_VERSION}", None)
    if (why := misfit(connection, feed)) is not None:
        raise _UnusableError(why, None)
    for each in list_generations(connection):
        if each.position and each.digest != feed.digest_at(each.position):
            raise _UnusableError(f"the log has another event at {each.position}", None)


def misfit(connection: apsw.Connection, feed: Feed) -> str | None:
    """Return why views are of another log, or of another epoch of it; None where they are not.

    Those of an earlier epoch are good where they know nothing of a tail that was lost.
    """
    meta = read_meta(connection)
    if meta.get("log_id") != feed.log_id:
        return "the views are of another log"
    epoch = meta.get("epoch")
    if epoch == feed.epoch:
        return None
    kept = kept_of(epoch, feed.lost_stretches()) if isinstance(epoch, int) else 0
    # A build in no order knows streams beyond its position.
    newest = connection.execute(_SQL["newest_entity"]).get or 0
    known = max([newest, *(each.position for each in list_generations(connection))])
    if known <= kept:
        return None
    return f"the views are of epoch {epoch} up to {known}, of which epoch {feed.epoch} has {kept}"


def read_meta(connection: apsw.Connection) -> dict[str, Any]:
    """Return whose views these are, and the head of the log when last looked at."""
    return dict(connection.execute(_SQL["read_meta"]))


def list_generations(connection: apsw.Connection) -> list[Generation]:
    """Return every set of tables: by projection, the build before the live ones."""
    rows = connection.execute(_SQL["list_generations"])
    return [Generation(row[0], row[1], bool(row[2]), *row[3:]) for row in rows]


def statuses(
    projections: Iterable[Projection],
    generations: Sequence[Generation],
    head: int,
    requested: Collection[str] = (),
) -> list[ProjectionStatus]:
    """Return how each projection stands, by name, from its sets of tables."""
    tables = {(each.name, each.live): each for each in generations}
    return [
        _status(
            each,
            tables.get((each.name, True)),
            tables.get((each.name, False)),
            head,
            each.name in requested,
        )
        for each in sorted(projections, key=lambda each: each.name)
    ]


def _status(
    projection: Projection,
    live: Generation | None,
    build: Generation | None,
    head: int,
    requested: bool,
) -> ProjectionStatus:
    building = requested or (build is not None and build.error is None)
    if live is None:
        state = "building" if building or build is None else "failed"
    elif building:
        state = "rebuilding"
    elif live.error is not None or live.version != projection.version:
        state = "failed"
    else:
        state = "live"
    faulty = next((each for each in (live, build) if each is not None and each.error), None)
    return ProjectionStatus(
        name=projection.name,
        version=live.version if live else projection.version,
        position=live.position if live else 0,
        state=state,
        error=faulty and faulty.error,
        failed_position=faulty and faulty.failed_position,
        recordedtime=live.recordedtime if live else None,
        built=build.position if build else None,
        head=head,
    )


@dataclass
class Store:
    """The one writing connection to ``views.db``; after a failed transaction it is opened anew."""

    path: Path
    db: apsw.Connection

    def __post_init__(self) -> None:
        self._file = file_at(self.path)

    @property
    def removed(self) -> bool:
        """Whether somebody took the file away, or put another in its place."""
        return file_at(self.path) != self._file

    def close(self) -> None:
        """Close the file; the last connection to close leaves no WAL behind."""
        self.db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is done inside, or nothing of it."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.db.execute("COMMIT")
        except BaseException:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            raise

    def generations(self) -> list[Generation]:
        """Return every set of tables: by projection, the build before the live ones."""
        return list_generations(self.db)

    def begin_build(self, projection: Projection, *, indexed: bool) -> Generation:
        """Make empty tables for a projection beside the live ones.

        Without its indexes it is built faster; those that are UNIQUE are needed to build.
        """
        number = self.db.execute(
            _SQL["insert_generation"], (projection.name, projection.version)
        ).get
        build = Generation(number, projection.name, False, projection.version)
        schema = projection.schema(build.prefix)
        self.db.execute(schema if indexed else _INDEX.sub("", schema))
        names = [name.removeprefix(build.prefix) for name in self._tables(build.prefix)]
        build = build._replace(tables=" ".join(sorted(names)))
        self.db.execute(_SQL["set_tables"], (build.tables, number))
        return build

    def add_index(self, projection: Projection, build: Generation) -> bool:
        """Make one index that a build lacks; return whether there was one."""
        present = {row[0] for row in self.db.execute(_SQL["list_indexes"])}
        for index in _ANY_INDEX.finditer(projection.schema(build.prefix)):
            if index[1] not in present:
                self.db.execute(index[0])
                return True
        return False

    def begin_bulk(self, projection: Projection, build: Generation, *, indexed: bool) -> None:
        """Make an empty build ready to be filled out of order, with all its indexes or none."""
        self.db.execute(_SQL["set_version"], (NO_VERSION, build.number))
        if indexed:
            while self.add_index(projection, build):
                pass
            return
        for index in _ANY_INDEX.finditer(projection.schema(build.prefix)):
            self.db.execute(f'DROP INDEX IF EXISTS "{index[1]}"')

    def end_bulk(self, build: Generation) -> None:
        """Say that a build holds all rows up to its position."""
        self.db.execute(_SQL["set_version"], (build.version, build.number))

    def advance(self, generation: Generation) -> None:
        """Write how far a set of tables is, and whether it failed."""
        each = generation
        self.db.execute(
            _SQL["advance_generation"],
            (each.position, each.digest, each.recordedtime, each.error, each.failed_position,
             each.number),
        )  # fmt: skip

    def swap(self, build: Generation, live: Generation | None) -> Generation:
        """Make a build the live tables; what was live is left for `sweep`."""
        if live is not None:
            self.retire(live)
        for table in build.tables.split():
            self._rename(f"{build.prefix}{table}", table)
        self.db.execute(_SQL["make_live"], (build.number,))
        return build._replace(live=True)

    def retire(self, generation: Generation) -> None:
        """Take a set of tables out of the register; `sweep` drops the tables later.

        A table that somebody took away must not keep the new ones from taking its place.
        """
        if generation.live:
            for table in set(generation.tables.split()).intersection(self._tables("")):
                self._rename(table, f"g{generation.number}_{table}")
        self.db.execute(_SQL["delete_generation"], (generation.number,))

    def sweep(self, pages: int = 1000) -> bool:
        """Drop one table that no build owns, else free some pages; return whether there is more."""
        kept = {each.number for each in self.generations() if not each.live}
        for table in self._tables("g"):
            owner = _GENERATION.match(table)
            if owner and int(owner[1]) not in kept:
                self.db.execute(f'DROP TABLE "{table}"')
                return True
        free: int = self.db.pragma("freelist_count")
        if free * 4 <= self.db.pragma("page_count"):
            return False
        # The pragma frees one page a step of the statement.
        self.db.execute(f"PRAGMA incremental_vacuum({pages:d})").fetchall()
        return bool(self.db.pragma("freelist_count") < free)

    def set_epoch(self, epoch: int) -> None:
        """Write the epoch of the log."""
        self.db.execute(_SQL["write_meta"], ("epoch", epoch))

    def set_head(self, head: int) -> None:
        """Write the head of the log, for readers that see this file alone."""
        self.db.execute(_SQL["write_meta"], ("head", head))

    def _tables(self, prefix: str) -> list[str]:
        rows = self.db.execute(_SQL["list_tables"])
        return [row[0] for row in rows if row[0].startswith(prefix)]

    def _rename(self, old: str, new: str) -> None:
        self.db.execute(f'ALTER TABLE "{old}" RENAME TO "{new}"')
