"""The seam between the backup and where it is kept: objects, and one small object that is swapped.

Two implementations: a directory (`daemon.backup.directory_store`) and a bucket of Google Cloud
Storage (`daemon.backup.gcs_store`). One suite of tests runs against both, and against every other
endpoint that it is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final, NamedTuple, Protocol

from daemon.backup.errors import StoreRefused

MANIFEST: Final = "manifest.json"
"""The name of the small object."""
NAME_BYTES: Final = 1024
"""The longest name of an object."""
CHUNK_BYTES: Final = 1 << 20
"""How much of an object is held in memory at a time."""


def checked_name(name: str) -> str:
    """Return the name of an object, which every store can keep and which leads nowhere else.

    No part of it is empty or begins with a dot: those names belong to the stores themselves.

    Raises:
        StoreRefused: it is not such a name.

    """
    well_formed = all(part and part[0] != "." for part in name.split("/")) and name.isprintable()
    if not well_formed or len(name.encode()) > NAME_BYTES:
        raise StoreRefused(f"{name[:100]!r} is not a name for an object")
    return name


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as the store describes it, without its content.

    ``name`` is relative to the place; ``crc32c`` is the checksum of the content as the store has
    verified it, ``created`` when it was stored (microseconds UTC, to be shown, never to be decided
    by); ``metadata`` is what came with it.
    """

    name: str
    size: int
    crc32c: int
    created: int
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store keeps to. One without ``preconditions`` does not refuse a second writer."""

    preconditions: bool = True


class Versioned(NamedTuple):
    """The content of the small object, and what names this version of it."""

    content: bytes
    version: str


class ObjectStore(Protocol):
    """Objects that are stored once and never changed.

    Every method raises `StoreUnavailable` for what may pass by itself and `StoreRefused` for what
    needs an operator, after a bounded time. A store may be used by several threads.
    """

    @property
    def url(self) -> str:
        """Where this is, as it may be shown."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What this store keeps to."""
        ...

    def put_if_absent(
        self, name: str, source: BinaryIO, size: int, metadata: Mapping[str, str]
    ) -> StoredObject:
        """Store ``size`` bytes that are read from ``source``; it is there whole or not at all.

        An object of that name with the same content counts as stored: the answer of an earlier
        attempt may have been lost. ``source`` is seekable: it is read again where a part of it has
        to be sent again.

        Raises:
            AlreadyThere: an object of that name holds something else.

        """
        ...

    def find(self, name: str) -> StoredObject | None:
        """Return the description of an object, None where there is none."""
        ...

    def get(self, name: str, start: int = 0) -> Iterator[bytes]:
        """Yield the content from a byte on, in pieces of at most `CHUNK_BYTES`.

        A transfer that breaks is gone on with where it broke. Errors come out of the iterator, the
        last of them after the last piece: what was yielded is worth nothing until it has ended.

        Raises:
            ObjectMissing: there is none.
            ObjectDamaged: the length, or with ``start`` 0 the checksum, is not what was stored.

        """
        ...

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``start`` on; fewer, or none, at the end.

        Raises:
            ObjectMissing: there is none.

        """
        ...

    def list(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        """Yield the objects whose names begin with a prefix, by name, those after ``after``."""
        ...

    def delete(self, name: str) -> None:
        """Remove an object; it does no harm where there is none."""
        ...


class Register(Protocol):
    """One small object that is replaced only by who knows what it holds."""

    def read(self) -> Versioned | None:
        """Return what it holds, None while it was never written."""
        ...

    def swap(self, content: bytes, version: str | None) -> str:
        """Replace the version that was read (None: there was none); return the new one's name.

        When the answer is lost, it may have been replaced all the same (`StoreUnavailable`). The
        same content again then counts as swapped, so content tells its writer and sequence.

        Raises:
            SwapLost: it holds another version.

        """
        ...


class Place(NamedTuple):
    """Where a log is backed up to: its objects and its register."""

    objects: ObjectStore
    register: Register
