"""The manifest: the one small object that says whose place this is and what holds good in it.

It is replaced by compare-and-swap only, so whoever wrote it last is the writer of the place. What
it names is complete: an object is stored before the manifest speaks of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator

from daemon.backup.errors import (
    NoBackup,
    NotTheWriter,
    ObjectDamaged,
    StoreUnavailable,
    SwapLost,
)
from daemon.backup.names import read_snapshot_name
from daemon.backup.store import Register, Versioned
from domain.epochs import is_log_id
from domain.errors import NewerSchema
from domain.payloads.base import Count, Integer

FORMAT: Final = 1
"""The format of the manifest that this release writes."""
RESERVED_EVENTS: Final = 1_000_000_000
"""How many positions beyond a reported head its writer may use before it reports again.

An epoch that follows begins beyond them, so that a position which somebody saw is not used twice.
"""
_ATTEMPTS: Final = 5


class _Part(BaseModel):
    # A newer release may add fields; FORMAT changes when an older one could not go by the rest.
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Format(_Part):
    """What says whether this program can read the rest."""

    format: int = FORMAT


class Writer(_Part):
    """Who ships: the data directory's id, and one for each start of a daemon on it."""

    id: str
    session: str
    host: str = ""


class Snapshot(_Part):
    """A copy of the whole log as of a position; times are microseconds UTC, sizes bytes.

    ``sha256`` is that of the object, ``raw_sha256`` that of the database in it; ``letters`` is the
    id of the newest dead letter in it.
    """

    name: str
    epoch: Count
    position: Count
    digest: str
    taken: Integer
    bytes: Count
    sha256: str
    raw_bytes: Count
    raw_sha256: str
    schema_version: Count
    release: str
    letters: Count = 0
    proof: Literal["pending", "proved", "failed"] = "pending"
    proved_at: Integer | None = None
    finding: str = ""

    @model_validator(mode="after")
    def _named(self) -> Self:
        if read_snapshot_name(self.name) != (self.epoch, self.position):
            raise ValueError("not the name of this snapshot")
        return self

    @property
    def proved(self) -> bool:
        """Whether it was restored and found right."""
        return self.proof == "proved"


class Epoch(_Part):
    """The beginning of an epoch: the one before it counts up to ``after``, whatever came then.

    ``first`` is the position of its first event. ``letters`` is to dead letters what ``after`` is
    to events.
    """

    epoch: Count
    after: Count
    first: Count
    letters: Count
    reported_head: Count
    began: Integer


class Forgetting(_Part):
    """Objects that hold what was removed from the log since, or redacted: how many, and since when.

    From ``due`` on (microseconds UTC) the first of them goes.
    """

    objects: Count
    bytes: Count
    since: Integer
    due: Integer


def _log_id(value: str) -> str:
    if not is_log_id(value):
        raise ValueError("not the id of a log")
    return value


class Manifest(_Part):
    """What holds good in a place; digests are hexadecimal.

    Every event up to ``shipped`` is in segments, and its writer had got to ``head`` when it said
    so. ``letters`` is the id of the newest dead letter that was shipped. ``replaced`` are objects
    that others stand for: they are not read any more, and removed.
    """

    format: Count = FORMAT
    log_id: Annotated[str, AfterValidator(_log_id)]
    created: Integer
    epoch: Count
    sequence: Count
    writer: Writer
    head: Count
    reserved: Count
    shipped: Count
    digest: str
    shipped_at: Integer
    letters: Count = 0
    snapshots: tuple[Snapshot, ...] = ()
    epochs: tuple[Epoch, ...] = ()
    replaced: tuple[str, ...] = ()
    forgetting: Forgetting | None = None

    def content(self) -> bytes:
        """Return the manifest as it is stored."""
        return self.model_dump_json(indent=1).encode()

    @classmethod
    def of(cls, content: bytes) -> Manifest:
        """Read a manifest.

        Raises:
            ObjectDamaged: it is not one.
            NewerSchema: a newer release wrote it, in a way that this one cannot read.

        """
        try:
            # First of all: a newer release may have changed everything else.
            known = _Format.model_validate_json(content).format
            if known > FORMAT:
                raise NewerSchema(f"the manifest has format {known}; this program knows {FORMAT}")
            return cls.model_validate_json(content)
        except ValidationError as error:
            place = ".".join(str(each) for each in error.errors()[0]["loc"])
            raise ObjectDamaged(f"the manifest cannot be read ({place or 'not JSON'})") from None

    def newest(self, *, proved: bool = False) -> Snapshot | None:
        """Return the newest snapshot, or the newest that was proved."""
        found = [each for each in self.snapshots if each.proved or not proved]
        return max(found, key=lambda each: (each.position, each.epoch), default=None)

    def with_snapshot(self, snapshot: Snapshot) -> Manifest:
        """Return the manifest with a snapshot added, or changed.

        An object of that name may have been about to be removed when its remover died; this one
        is there to stay.
        """
        others = [each for each in self.snapshots if each.name != snapshot.name]
        ordered = sorted([*others, snapshot], key=lambda each: (each.position, each.epoch))
        replaced = tuple(name for name in self.replaced if name != snapshot.name)
        return self.model_copy(update={"snapshots": tuple(ordered), "replaced": replaced})

    def without_snapshots(self, names: Collection[str]) -> Manifest:
        """Return the manifest without some snapshots."""
        left = tuple(each for each in self.snapshots if each.name not in names)
        return self.model_copy(update={"snapshots": left})


Change = Callable[[Manifest], Manifest]
"""Returns the manifest as it shall be; given another one it says so again."""


def load(register: Register) -> tuple[Manifest, str] | None:
    """Return the manifest of a place and the version it was read at, None where there is none."""
    found: Versioned | None = register.read()
    return None if found is None else (Manifest.of(found.content), found.version)


def require(register: Register) -> tuple[Manifest, str]:
    """Return the manifest of a place and its version.

    Raises:
        NoBackup: there is none.

    """
    found = load(register)
    if found is None:
        raise NoBackup(
            "there is no backup at this place: it has no manifest",
            hint="Check the url: of [backup] url, or of --from. A daemon makes the manifest when "
            "it first ships there.",
        )
    return found


class Ledger:
    """The manifest in the hands of its writer; any thread of that daemon may change it."""

    def __init__(self, register: Register, writer: Writer) -> None:
        self._register = register
        self.writer = writer
        self._lock = threading.RLock()
        self._held: Manifest | None = None
        self._version: str | None = None

    @property
    def claimed(self) -> bool:
        """Whether the place was claimed once."""
        return self._held is not None

    @property
    def manifest(self) -> Manifest:
        """What holds good, as this writer knows it."""
        assert self._held is not None, "the place was not claimed"  # noqa: S101
        return self._held

    def claim(self, fresh: Callable[[], Manifest], fits: Callable[[Manifest], Manifest]) -> None:
        """Become the writer of the place.

        ``fresh`` makes the manifest of an empty place. ``fits`` returns a manifest that is there as
        it shall be, or raises what speaks against it.

        Raises:
            NotTheWriter: somebody else came first.
            SwapLost: the same, at the same moment.

        """
        with self._lock:
            found = load(self._register)
            if found is None:
                self._swap(fresh(), None)
            else:
                manifest, version = found
                told = {"writer": self.writer, "sequence": manifest.sequence + 1}
                self._swap(fits(manifest).model_copy(update=told), version)

    def change(self, change: Change) -> Manifest:
        """Change the manifest; what is lost on the way is found out by reading it again.

        Raises:
            NotTheWriter: another daemon has taken the place over.
            StoreUnavailable: it is not known whether it was changed; ask again.

        """
        with self._lock:
            for _ in range(_ATTEMPTS):
                if self._version is None:
                    self.read_again()
                before = self.manifest
                after = change(before)
                if after == before:
                    return before
                after = after.model_copy(update={"sequence": before.sequence + 1})
                try:
                    self._swap(after, self._version)
                except SwapLost:
                    continue
                return after
        raise StoreUnavailable("the manifest changes faster than it can be written")

    def read_again(self) -> Manifest:
        """Read what the place says now.

        Raises:
            NotTheWriter: it is another daemon's, or gone.

        """
        with self._lock:
            found = load(self._register)
            if found is None:
                raise NotTheWriter("the manifest of the place is gone")
            manifest, version = found
            if manifest.writer != self.writer:
                raise NotTheWriter(whose(manifest))
            self._held, self._version = manifest, version
            return manifest

    def _swap(self, manifest: Manifest, version: str | None) -> None:
        # Until the answer is there, what holds good is not known.
        self._version = None
        self._version = self._register.swap(manifest.content(), version)
        self._held = manifest


def whose(manifest: Manifest) -> str:
    """Say whose the place is."""
    host = f" on {manifest.writer.host}" if manifest.writer.host else ""
    return (
        f"the place belongs to another daemon{host} (writer {manifest.writer.id[:8]}, epoch "
        f"{manifest.epoch}, head {manifest.head})"
    )
