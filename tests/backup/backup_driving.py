"""Backups for tests: small manifests, places, stores that fail when they are told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from daemon.backup.board import Board
from daemon.backup.directory_store import DirectoryRegister, DirectoryStore
from daemon.backup.errors import StoreUnavailable, SwapLost
from daemon.backup.manifest import RESERVED_EVENTS, Manifest, Snapshot, Writer, require
from daemon.backup.names import snapshot_name
from daemon.backup.settings import Settings
from daemon.backup.status import BackupStatus, Progress, State, unwatched
from daemon.backup.store import (
    MANIFEST,
    Capabilities,
    ObjectStore,
    Place,
    Register,
    StoredObject,
    Versioned,
)
from daemon.backup.workshop import Workshop
from daemon.eventlog.copying import copy_log
from daemon.lock import LOG_FILE

WRITER = Writer(id="writer", session="session", host="here")
LOG_ID = "17cc2a5e-560f-451b-bebb-412cd4fce855"


def manifest_of(**fields: Any) -> Manifest:
    """Return a manifest of a place where nothing was shipped, but for the fields that are given."""
    told: dict[str, Any] = {
        "log_id": LOG_ID, "created": 1, "epoch": 1, "sequence": 1, "writer": WRITER, "head": 0,
        "reserved": RESERVED_EVENTS, "shipped": 0, "digest": "00" * 32, "shipped_at": 1,
    }  # fmt: skip
    return Manifest(**told | fields)


def snapshot_at(position: int, epoch: int = 1, **fields: Any) -> Snapshot:
    """Return what a manifest says of a snapshot."""
    told: dict[str, Any] = {
        "name": snapshot_name(epoch, position), "epoch": epoch, "position": position,
        "digest": "11" * 32, "taken": position, "bytes": 10, "sha256": "22" * 32, "raw_bytes": 40,
        "raw_sha256": "33" * 32, "schema_version": 1, "release": "0",
    }  # fmt: skip
    return Snapshot(**told | fields)


def directory_place(root: Path) -> Place:
    """Return the place in a directory."""
    return Place(DirectoryStore(root), DirectoryRegister(root))


class Died(BaseException):
    """The process is killed: nobody catches it."""


class WatchedStore:
    """A store whose every call is seen first: `before` is told its word and the object's name.

    It may raise what the call shall fail with. ``read`` counts the bytes that were yielded by name.
    """

    def __init__(self, store: ObjectStore, before: Callable[[str, str], None]) -> None:
        self.store = store
        self.before = before
        self.read: dict[str, int] = {}

    @property
    def url(self) -> str:
        """Where this is."""
        return self.store.url

    @property
    def capabilities(self) -> Capabilities:
        """What this store keeps to."""
        return self.store.capabilities

    def put_if_absent(
        self, name: str, source: BinaryIO, size: int, metadata: Mapping[str, str]
    ) -> StoredObject:
        """Store an object."""
        self.before("put", name)
        return self.store.put_if_absent(name, source, size, metadata)

    def find(self, name: str) -> StoredObject | None:
        """Describe an object."""
        self.before("find", name)
        return self.store.find(name)

    def get(self, name: str, start: int = 0) -> Iterator[bytes]:
        """Yield the content of an object."""
        self.before("get", name)
        for piece in self.store.get(name, start):
            self.before("piece", name)
            self.read[name] = self.read.get(name, 0) + len(piece)
            yield piece

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """Return a part of an object."""
        self.before("range", name)
        return self.store.get_range(name, start, length)

    def list(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        """Yield the objects of a prefix."""
        self.before("list", prefix)
        yield from self.store.list(prefix, after)

    def delete(self, name: str) -> None:
        """Remove an object."""
        self.before("delete", name)
        self.store.delete(name)


class WatchedRegister:
    """A register whose every swap is seen first."""

    def __init__(self, register: Register, before: Callable[[str, str], None]) -> None:
        self.register = register
        self.before = before

    def read(self) -> Versioned | None:
        """Return what it holds."""
        return self.register.read()

    def swap(self, content: bytes, version: str | None) -> str:
        """Replace what it holds."""
        self.before("swap", MANIFEST)
        return self.register.swap(content, version)


class CellRegister:
    """A register in memory.

    ``answers_lost`` are swaps, by their number, that are done and not answered; those in
    ``refused`` are not done either.
    """

    def __init__(self) -> None:
        self.held: Versioned | None = None
        self.swaps = 0
        self.answers_lost: set[int] = set()
        self.refused: set[int] = set()
        self._lock = threading.Lock()

    def read(self) -> Versioned | None:
        """Return what it holds."""
        return self.held

    def swap(self, content: bytes, version: str | None) -> str:
        """Replace what it holds."""
        with self._lock:
            self.swaps += 1
            if self.swaps in self.refused:
                raise StoreUnavailable("not done")
            if (self.held.version if self.held else None) != version:
                raise SwapLost("another version")
            self.held = Versioned(content, str(self.swaps))
            if self.swaps in self.answers_lost:
                raise StoreUnavailable("done, and not answered")
            return self.held.version


class Backed:
    """A data directory and its backup in a directory; one writer's parts, driven by hand.

    ``now`` is its clock, ``recorded`` are the events that the backup wanted recorded; ``before``
    is told of every call of the store.
    """

    def __init__(
        self, folder: Path, *, place: Place | None = None, writer: Writer = WRITER
    ) -> None:
        self.data = folder / "data"
        self.data.mkdir(parents=True, exist_ok=True)
        self.log = self.data / LOG_FILE
        self.now = 1_800_000_000_000_000
        self.calls: list[tuple[str, str]] = []
        self.before: Callable[[str, str], None] = lambda *_: None
        self.recorded: list[tuple[str, str, dict[str, Any]]] = []
        self.stopping = threading.Event()
        place = place or directory_place(folder / "kept")
        self.store = WatchedStore(place.objects, self._called)
        self.place = Place(self.store, WatchedRegister(place.register, self._called))
        self._writer = writer
        self._workshop: Workshop | None = None
        self.board = Board(
            BackupStatus(state=State.SHIPPING), lambda: self.now, record=self._record
        )

    @property
    def settings(self) -> Settings:
        """The settings of this backup."""
        return Settings(
            data=str(self.data), url="", credentials="", segment_seconds=10.0, segment_events=1000,
            snapshot="hourly", keep="2 hourly", prove=True, bytes_per_second=10**9,
            timeout_seconds=5.0, snapshot_on_stop=False, level="info", style="text",
            forget_after_days=30.0,
        )  # fmt: skip

    @property
    def workshop(self) -> Workshop:
        """The parts that work on the backup; made when the log is there."""
        if self._workshop is None:
            self.settings.folder.mkdir(exist_ok=True)
            self._workshop = Workshop(
                self.settings, self.place, self._writer, self.board, self.copy, self.stopping,
                lambda: self.now,
            )  # fmt: skip
        return self._workshop

    @property
    def manifest(self) -> Manifest:
        """What the place says."""
        return require(self.place.register)[0]

    def copy(self, target: Path, progress: Progress) -> None:
        """Copy the log."""
        copy_log(self.log, target)
        progress(1, 1)

    def ship(self) -> None:
        """Ship everything that is in the log."""
        self.workshop.shipper.ship_all(lambda: self.now)

    def snapshot(self, proof: str = "pending") -> Snapshot:
        """Take a snapshot and say that this came of its proof."""
        self.ship()
        taken = self.workshop.snapshots.create(self.now, unwatched)
        assert taken is not None
        told = taken.model_copy(update={"proof": proof})
        self.workshop.ledger.change(lambda manifest: manifest.with_snapshot(told))
        return told

    def path_of(self, name: str) -> Path:
        """Return the file of an object."""
        return Path(self.store.url.removeprefix("file://")) / name

    def damage(self, name: str, at: int = -1) -> None:
        """Change a byte of an object."""
        content = bytearray(self.path_of(name).read_bytes())
        content[at] ^= 0xFF
        self.path_of(name).write_bytes(content)

    def close(self) -> None:
        """End this run of the backup."""
        if self._workshop is not None:
            self._workshop.close()
            self._workshop = None

    def _called(self, word: str, name: str) -> None:
        self.calls.append((word, name))
        self.before(word, name)

    def _record(self, type_: str, subject: str, payload: dict[str, Any]) -> None:
        self.recorded.append((type_, subject, payload))
