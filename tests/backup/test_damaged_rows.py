"""Objects whose checksums are right and whose rows are not: damage, told as such, and an end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import orjson
import pytest
from backup_driving import Backed, manifest_of
from grown_logs import Growing, Step

from daemon.backup.applying import Applier, digest_within
from daemon.backup.container import Header
from daemon.backup.errors import ObjectDamaged
from daemon.backup.manifest import Manifest
from daemon.backup.restore import Restoring, introduce
from daemon.backup.segment import Sealed, last_recorded, merge, seal, unsealed
from daemon.eventlog.connection import open_writer

LOOSE_LETTERS = (
    "DROP TABLE dead_letters",
    "CREATE TABLE dead_letters (dead_letter_id, digest, format, origin, reason, detail, kept,"
    " length, sha256, first_seen, last_seen, count)",
    "INSERT INTO dead_letters VALUES ('a', 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)",
)
NOT_UTF_8 = ("UPDATE streams SET name = CAST(x'ff00' AS TEXT)",)
LOOSE_RUNS = (
    "DROP TABLE removed_runs",
    "CREATE TABLE removed_runs (first, last, digest)",
    "INSERT INTO removed_runs VALUES (1, 2, 'text')",
)


@pytest.fixture
def backed(tmp_path: Path) -> Any:
    """Return the backup of a log with events and dead letters."""
    backed = Backed(tmp_path)
    growing = Growing(backed.log)
    growing.do(Step("events", [("a", "/a", "1", None), ("b", "/a", "2", None)]))
    growing.do(Step("letters", [b"{"]))
    growing.close()
    backed.ship()
    yield backed
    backed.close()


def sealed(backed: Backed, folder: str) -> Sealed:
    """Return the object of a folder."""
    [path] = Path(backed.store.url.removeprefix("file://"), folder).rglob("*.zst")
    content = path.read_bytes()
    return Sealed(unsealed(content, "an object")[0], content)


def changed(part: Sealed, *statements: str) -> Sealed:
    """Return an object with other rows, and with the checksums of these."""
    return again(part, lambda database: _executed(database, statements))


def again(part: Sealed, change: Callable[[bytes], bytes], **told: Any) -> Sealed:
    """Return an object of another database, or with another header, sealed again."""
    header = part.header.model_copy(update=told)
    return seal(change(unsealed(part.content, "an object")[1]), header)


def _executed(database: bytes, statements: tuple[str, ...]) -> bytes:
    with closing(apsw.Connection(":memory:")) as db:
        db.deserialize("main", database)
        for statement in statements:
            db.execute(statement)
        return db.serialize("main")


def read_by_all(backed: Backed, part: Sealed) -> list[str]:
    """Read an object in every way that there is; return what each says of it."""
    first = sealed(backed, "segments")
    said = []
    with closing(open_writer(":memory:")) as db:
        introduce(db, backed.manifest)
        applier = Applier(db, backed.manifest.log_id)
        for read in (
            lambda: applier.apply(part.content, "an object"),
            lambda: digest_within(part.content, "an object", 1),
            lambda: last_recorded(part.content, "an object", 1),
            lambda: merge([first, part], 1),
        ):
            try:
                read()
            except ObjectDamaged as error:
                said.append(error.detail)
        assert db.get_autocommit()
    return said


def test_dead_letters_with_values_of_another_kind_are_damage(backed: Backed) -> None:
    """They were told as a disk that refuses, so that no other way was tried."""
    assert len(read_by_all(backed, changed(sealed(backed, "letters"), *LOOSE_LETTERS))) == 4


@pytest.mark.parametrize("statements", [NOT_UTF_8, LOOSE_RUNS])
def test_rows_that_cannot_be_read_are_damage(backed: Backed, statements: tuple[str, ...]) -> None:
    """A text that is none, and a digest that is no blob, came out as errors of Python."""
    said = read_by_all(backed, changed(sealed(backed, "segments"), *statements))
    assert said


def test_dead_letters_in_the_place_of_events_are_damage(backed: Backed) -> None:
    """Looking for a moment in them came out as an error of SQLite."""
    with pytest.raises(ObjectDamaged):
        last_recorded(sealed(backed, "letters").content, "an object", 1)


@pytest.mark.parametrize("database", [b"", b"SQLite format 3\0" + bytes(84), b"x" * 4096])
def test_no_database_is_damage(backed: Backed, database: bytes) -> None:
    """Nothing at all was told as a lack of memory."""
    part = again(sealed(backed, "segments"), lambda _: database)
    assert len(read_by_all(backed, part)) == 4


def test_a_digest_that_is_none_is_damage(backed: Backed) -> None:
    """A header that has something else before it came out as an error of Python."""
    part = again(sealed(backed, "segments"), bytes, digest_before="none")
    with pytest.raises(ObjectDamaged):
        digest_within(part.content, "an object", 1)


def test_a_manifest_without_a_way_to_its_digest_ends_a_restore(tmp_path: Path) -> None:
    """A restore of nothing, to a digest that is not that of nothing, was tried for ever."""
    backed = Backed(tmp_path)
    with pytest.raises(ObjectDamaged, match="manifest"):
        Restoring(backed.place.objects, manifest_of(digest="11" * 32), backed.data).run()


@pytest.mark.parametrize("field", ["created", "epoch", "head", "shipped", "letters"])
def test_numbers_that_no_log_has_are_a_damaged_manifest(field: str) -> None:
    """A number of more than 64 bits came out as an error of Python, from the restore."""
    told = manifest_of().model_dump() | {field: 2**63}
    with pytest.raises(ObjectDamaged, match=field):
        Manifest.of(orjson.dumps(told))


def test_numbers_that_no_log_has_are_a_damaged_header(backed: Backed) -> None:
    """The same of an object."""
    part = sealed(backed, "segments")
    told = part.header.model_copy(update={"first": 2**63})
    content = Header.frame(told) + part.content[len(part.header.frame()) :]
    with pytest.raises(ObjectDamaged, match="header"):
        unsealed(content, "an object")


@pytest.mark.parametrize("room", [30, 60])
def test_a_disk_that_gets_full_is_no_damage(tmp_path: Path, room: int) -> None:
    """SQLite gives up the transaction then; the segment is right all the same."""
    backed = Backed(tmp_path)
    with closing(Growing(backed.log)) as growing:
        growing.do(Step("events", [(f"job{n}", "/a", f"{n}", None) for n in range(1500)]))
    backed.ship()
    part = sealed(backed, "segments")
    with closing(open_writer(str(tmp_path / "new.db"))) as db:
        introduce(db, backed.manifest)
        pages = db.pragma("page_count")
        db.pragma("max_page_count", pages + room)
        with pytest.raises(apsw.FullError):
            Applier(db, part.header.log_id).apply(part.content, "a segment")
    backed.close()
