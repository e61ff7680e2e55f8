"""Targets of the backup: manifest, segments, and a whole restore of objects that were changed.

Checksums would keep nearly all changes from the code behind them, so most inputs are changes of
what is inside, sealed again as whoever can write to the store would seal it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import orjson
import zstandard
from backup_driving import Backed
from fuzz_target import Target, refusing
from grown_logs import Growing, Step, rows_of

from daemon.backup.applying import Applier, digest_within
from daemon.backup.container import Header, read_header
from daemon.backup.documents import snapshot_document
from daemon.backup.errors import ObjectMissing
from daemon.backup.lineage import plan
from daemon.backup.manifest import Manifest
from daemon.backup.restore import Listing, Restoring, introduce
from daemon.backup.segment import Sealed, last_recorded, merge, seal, unsealed
from daemon.backup.store import Capabilities, StoredObject
from daemon.eventlog.connection import open_writer
from daemon.eventlog.proof import prove_log
from daemon.lock import LOG_FILE
from domain.errors import ChronicledError

STATEMENTS_MAX = 8
"""So many changes of a database are made at most, each of bounded length."""
_STEPS_MAX = 20_000
_DENIED = {apsw.SQLITE_ATTACH, apsw.SQLITE_DETACH, apsw.SQLITE_PRAGMA}
MEMORY = Path("/dev/shm")
"""Where databases are written that nobody keeps, where there is such a place."""


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Return a directory that is gone after its use."""
    return tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)


class Shipped(NamedTuple):
    """A backup: its manifest, its objects by name, and the log's rows."""

    manifest: Manifest
    objects: Mapping[str, bytes]
    rows: Mapping[str, list[Any]]


def _event(name: str, number: int) -> tuple[str, str, str, Any]:
    return name, "/a", f"{name}{number}", {"correlationid": "run-1"} if number % 2 else None


@cache
def shipped() -> Shipped:
    """Return the backup of a small log that has something of everything."""
    with scratch() as folder:
        backed = Backed(Path(folder))
        growing = Growing(backed.log)
        for number in range(3):
            growing.do(Step("events", [_event("a", number), _event("b/c", number)]))
            growing.do(Step("letters", [b"{", b'{"id": %d}' % number]))
            growing.do(Step("library", ("app", [("s", f"topic{number}", b"state")])))
            growing.do(Step("follow", (f"file-{number}", number + 1)))
            growing.do(Step("track", ("app", "up", number + 1)))
            growing.close()
            if number == 1:
                backed.snapshot("proved" if number else "pending")
            backed.ship()
        objects = {
            path.relative_to(folder).as_posix().partition("/")[2]: path.read_bytes()
            for kept in ("segments", "letters", "snapshots")
            for path in Path(folder, "kept", kept).rglob("*")
            if path.is_file()
        }
        manifest, rows = backed.manifest, rows_of(backed.log)
        backed.close()
    assert {name.partition("/")[0] for name in objects} == {"segments", "letters", "snapshots"}
    return Shipped(manifest, objects, rows)


class HeldStore:
    """Objects in memory, as they are: nothing is checked on the way."""

    url = "memory:///"
    capabilities = Capabilities()

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        self._objects = objects

    def find(self, name: str) -> StoredObject | None:
        """Describe an object."""
        return next((each for each in self.list(name) if each.name == name), None)

    def get(self, name: str, start: int = 0) -> Iterator[bytes]:
        """Yield the content of an object."""
        if name not in self._objects:
            raise ObjectMissing(f"{name} is missing")
        yield self._objects[name][start:]

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """Return a part of an object."""
        return b"".join(self.get(name, start))[:length]

    def list(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        """Yield the objects of a prefix."""
        for name in sorted(self._objects):
            if name.startswith(prefix) and name > after:
                yield StoredObject(name, len(self._objects[name]), 0, 0, {})


# -- changing what is in an object ---------------------------------------------------------


def altered(database: bytes, statements: object) -> bytes:
    """Return a database after some statements; those that cannot be done are passed over."""
    with closing(apsw.Connection(":memory:")) as db:
        db.deserialize("main", database)
        db.set_authorizer(lambda code, *_: apsw.SQLITE_DENY if code in _DENIED else apsw.SQLITE_OK)
        if not isinstance(statements, list):
            statements = [statements]
        for statement in statements[:STATEMENTS_MAX]:
            left = iter(range(_STEPS_MAX // 100))
            db.set_progress_handler(lambda left=left: next(left, None) is None, 100)
            try:
                db.execute(str(statement)[:2000])
            except (apsw.Error, UnicodeError, ValueError, TypeError):
                continue
        return db.serialize("main")


def resealed(content: bytes, change: Any) -> bytes:
    """Return an object with another database in it, under a header that fits."""
    header, end = read_header(content, "x")
    database = zstandard.ZstdDecompressor().decompress(content[end:])
    return seal(change(database), header).content


def _framed(told: bytes, packed: bytes) -> bytes:
    """Return an object that says something else of itself, with the right checksum."""

    class Said:
        def model_dump_json(self) -> str:
            return told.decode(errors="replace")

    return Header.frame(Said()) + packed  # type: ignore[arg-type]


def _packed(content: bytes) -> tuple[bytes, bytes]:
    header, end = read_header(content, "x")
    return header.model_dump_json().encode(), content[end:]


# -- segments ---------------------------------------------------------

INSERTS = [
    ["UPDATE events SET version = version + 1"],
    ["UPDATE events SET position = position + 1", "DELETE FROM streams"],
    ["UPDATE events SET data = CAST(data AS TEXT)", "UPDATE types SET name = name || 'x'"],
    ["UPDATE streams SET name = CAST(x'ff00' AS TEXT), floor = -1"],
    ["UPDATE sources SET name = NULL", "UPDATE events SET source_id = 99, extensions = '{'"],
    ["INSERT INTO removed_runs VALUES (1, 3, x'00')"],
    ["INSERT INTO removed_keys VALUES (1, x'00', 2, 1)"],
    ["DROP TABLE events", "CREATE TABLE events(position, stream_id, version, type_id)"],
    ["DROP TABLE follows", "CREATE VIEW follows AS SELECT 1"],
    ["CREATE TABLE t(a, b AS (a + 1))",
     "CREATE TRIGGER g AFTER INSERT ON events BEGIN SELECT 1; END"],
    ["DROP TABLE types", "CREATE TABLE types(type_id, application, name)",
     "INSERT INTO types VALUES (1, '', x'00'), (2, 7, 0.5), (NULL, NULL, NULL)"],
    ["DROP TABLE dead_letters", "CREATE TABLE dead_letters(dead_letter_id, digest, format, origin,"
     " reason, detail, kept, length, sha256, first_seen, last_seen, count)",
     "INSERT INTO dead_letters VALUES ('a', 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)"],
    ["UPDATE follows SET offset = -1, name = ''", "UPDATE tracking SET notification_id = -5"],
    ["UPDATE dead_letters SET kept = zeroblob(100000), length = -1, count = 0, detail = ''"],
    ["UPDATE events SET recordedtime = 9223372036854775807, time = -9223372036854775808"],
    ["PRAGMA writable_schema = 1", "UPDATE sqlite_schema SET sql = 'CREATE TABLE x(a)'"],
]  # fmt: skip


def _parts() -> list[bytes]:
    """Return the segments and the dead letters of the backup, in their order."""
    return [content for name, content in sorted(shipped().objects.items()) if "snap" not in name]


def segment_seeds() -> list[bytes]:
    """Return inputs of `read_segment`."""
    parts = _parts()
    database = unsealed(parts[-1], "x")[1]
    seeds = [b"R" + parts[0], b"R" + parts[-1], b"D" + database]
    seeds += [b"H" + told + b"\n" + packed for told, packed in map(_packed, parts)]
    return seeds + [b"S" + orjson.dumps(each) for each in INSERTS]


def _objects(raw: bytes) -> list[bytes]:
    """Return the objects that an input asks for: raw, of a header, a database, or statements."""
    kind, rest = raw[:1], raw[1:]
    parts = _parts()
    if kind == b"H":
        told, _, packed = rest.partition(b"\n")
        return [_framed(told, packed)]
    if kind == b"D":
        return [resealed(parts[0], lambda _: rest), resealed(parts[-1], lambda _: rest)]
    if kind == b"S":
        try:
            statements = orjson.loads(rest)
        except orjson.JSONDecodeError:
            return []
        return [resealed(part, lambda found: altered(found, statements)) for part in parts]
    return [rest]


def read_segment(raw: bytes) -> bool:
    """Read an object by all that reads one: apply it, look into it, make it one with another."""
    manifest, taken = shipped().manifest, 0
    earlier = _sealed(_parts()[-2])
    with closing(open_writer(":memory:")) as db:
        introduce(db, manifest)
        applier = Applier(db, manifest.log_id)
        for content in _objects(raw):
            with refusing():
                header = applier.apply(content, "an object")
                assert header.log_id == manifest.log_id
                taken += 1
            assert db.get_autocommit(), "a transaction was left open"
            for position in (1, 5):
                with refusing():
                    digest_within(content, "an object", position)
            with refusing():
                last_recorded(content, "an object", 10**17)
            with refusing():
                merge([earlier, _sealed(content)], 1)
    return taken > 0


def _sealed(content: bytes) -> Sealed:
    return Sealed(read_header(content, "an object")[0], content)


# -- the manifest ---------------------------------------------------------


def manifest_seeds() -> list[bytes]:
    """Return manifests."""
    plain = shipped().manifest
    epochs: dict[str, Any] = {"epoch": 2, "after": 5, "first": 9, "letters": 2}
    told = plain.model_dump() | {
        "epochs": [epochs | {"reported_head": 7, "began": 1}],
        "replaced": ["segments/000001-00000000000000000001-00000000000000000002.seg.zst"],
        "forgetting": {"objects": 1, "bytes": 2, "since": 3, "due": 4},
    }
    return [orjson.dumps(plain.model_dump()), orjson.dumps(told), plain.content()]


def read_manifest(raw: bytes) -> bool:
    """Read a manifest, and see what could be restored by it."""
    with refusing():
        manifest = Manifest.of(raw)
        assert Manifest.of(manifest.content()) == manifest, "it does not return"
        newest = manifest.newest()
        for each in manifest.snapshots:
            snapshot_document(each.model_dump() | {"taken": "", "proved_at": None})
        manifest.newest(proved=True)
        if newest is not None:
            assert newest in manifest.with_snapshot(newest).snapshots
        listing = Listing.of(HeldStore(shipped().objects), manifest)
        for upto in (None, 0, 3, manifest.shipped):
            for skip in (False, True):
                with refusing():
                    plan(manifest, listing.segments, listing.letters, upto, skip_letters=skip)
        return True
    return False


# -- a restore ---------------------------------------------------------


def restore_seeds() -> list[bytes]:
    """Return inputs of `restore`: what to change, then the manifest."""
    manifest = orjson.dumps(shipped().manifest.model_dump())
    changes: list[list[Any]] = [[]]
    changes += [[[n, "drop", 0, 0]] for n in range(4)]
    changes += [[[n, "flip", 100 * n, 3]] for n in range(4)]
    changes += [[[n, "cut", 200, 0]] for n in range(4)]
    changes += [[[0, "swap", 1, 0]], [[2, "swap", 3, 0]]]
    changes += [[[n, "seal", 0, each]] for n in range(4) for each in INSERTS[:6]]
    seeds = []
    for upto, skip in ((None, False), (5, False), (None, True)):
        for change in changes:
            told = {"upto": upto, "skip": skip, "changes": change}
            seeds.append(orjson.dumps(told) + b"\n" + manifest)
    return seeds


def _changed(objects: dict[str, bytes], changes: object) -> None:
    """Change objects as an input says; what cannot be done is passed over."""
    names = sorted(objects)
    for change in changes[:4] if isinstance(changes, list) else []:
        match change:
            case [int(number), "drop", *_]:
                objects.pop(names[number % len(names)], None)
            case [int(number), "flip", int(at), int(bit), *_] if objects.get(
                name := names[number % len(names)]
            ):
                content = bytearray(objects[name])
                content[at % len(content)] ^= 1 << bit % 8
                objects[name] = bytes(content)
            case [int(number), "cut", int(at), *_] if names[number % len(names)] in objects:
                name = names[number % len(names)]
                objects[name] = objects[name][: at % (len(objects[name]) + 1)]
            case [int(number), "swap", int(other), *_]:
                one, two = names[number % len(names)], names[other % len(names)]
                if one in objects and two in objects:
                    objects[one], objects[two] = objects[two], objects[one]
            case [int(number), "seal", _, statements]:
                name = names[number % len(names)]
                if objects.get(name) == shipped().objects[name]:
                    objects[name] = resealed(
                        objects[name], lambda found, said=statements: altered(found, said)
                    )


def _told_again(manifest: Manifest, objects: Mapping[str, bytes]) -> Manifest:
    """Return a manifest that tells of snapshots as they are, as a hostile one would; unproved."""
    told = []
    for each in manifest.snapshots:
        content = objects.get(each.name, b"")
        if content != shipped().objects.get(each.name, b""):
            try:
                header = read_header(content, each.name)[0]
            except ChronicledError:
                header = None
            each = each.model_copy(
                update={
                    "sha256": sha256(content).hexdigest(),
                    "bytes": len(content),
                    "raw_bytes": header.raw_bytes if header else each.raw_bytes,
                    "raw_sha256": header.raw_sha256 if header else each.raw_sha256,
                    "proof": "pending",
                }
            )
        told.append(each)
    return manifest.model_copy(update={"snapshots": tuple(told)})


def restore(raw: bytes) -> bool:
    """Restore a log from changed objects: it is as it was, up to where was asked, or refused."""
    said, _, text = raw.partition(b"\n")
    try:
        asked = orjson.loads(said)
    except orjson.JSONDecodeError:
        return False
    if not isinstance(asked, dict):
        return False
    objects = dict(shipped().objects)
    _changed(objects, asked.get("changes"))
    told = asked.get("upto")
    upto = told if type(told) is int and 0 <= told < 2**63 else None
    with refusing(), scratch() as folder:
        manifest = _told_again(Manifest.of(text), objects)
        restoring = Restoring(
            HeldStore(objects),  # type: ignore[arg-type]
            manifest,
            Path(folder),
            skip_letters=bool(asked.get("skip")),
        )
        try:
            reached = restoring.run(upto).position
        except ChronicledError:
            left = [each.name for each in Path(folder).iterdir() if not _is_download(each)]
            assert not left, f"left behind: {left}"
            raise
        findings = prove_log(Path(folder, LOG_FILE), at_rest=True).findings
        assert not findings, f"restored, and not right: {findings[0]}"
        goal = manifest.shipped if upto is None else upto
        assert reached == goal, f"{goal} was asked for, {reached} is said"
        _check_prefix(Path(folder, LOG_FILE), reached)
        return True
    assert not _is_whole(objects, text, upto), "a backup without any damage is refused"
    return False


def _is_download(path: Path) -> bool:
    return path.name.endswith(".download")


def _is_whole(objects: Mapping[str, bytes], manifest: bytes, upto: int | None) -> bool:
    """Return whether a backup is as it was made, and has what is asked of it."""
    made = shipped()
    with refusing():
        same = Manifest.of(manifest) == made.manifest and objects == made.objects
        return same and (upto is None or upto <= made.manifest.shipped)
    return False


def _check_prefix(path: Path, upto: int) -> None:
    """Fail unless the events are those of the log, from the first up to a position, all of them."""
    found, recorded = rows_of(path)["events"], shipped().rows["events"]
    assert upto <= recorded[-1][0], f"{upto} is beyond all that was recorded"
    expected = [row for row in recorded if row[0] <= upto]
    at = [row[0] for row in found]
    assert at == [row[0] for row in expected], f"restored up to {upto} are {at}"
    assert found == expected, "other events than were recorded"


TARGETS = [
    Target("backup-manifest", manifest_seeds, read_manifest),
    Target(
        "backup-segment",
        segment_seeds,
        read_segment,
        words=("UPDATE", "events", "SET", "streams", "NULL", "x'ff'", "CREATE VIEW", "DROP TABLE"),
    ),
    Target("backup-restore", restore_seeds, restore, words=("drop", "flip", "cut", "swap", "seal")),
]
