"""A bucket in memory, as strict as the real one, with the seams of the backup and of the archive.

Generations, preconditions and checksums are those of the fake of Google Cloud Storage that the
backup is tested with; here there is no HTTP in between, and every call can be met by a fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import BinaryIO, Final

import google_crc32c
from faults import Faults
from gcs_objects import Buckets, Object, Refusal

from daemon.backup.errors import (
    AlreadyThere,
    ObjectDamaged,
    ObjectMissing,
    StoreRefused,
    StoreUnavailable,
    SwapLost,
)
from daemon.backup.store import MANIFEST, Capabilities, Place, StoredObject, Versioned, checked_name

BUCKET: Final = "simulated"
_PIECE_BYTES: Final = 16 * 1024


class Bucket:
    """The objects of one simulation, which outlive every daemon of it."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.buckets = Buckets()
        self.buckets.create_bucket(BUCKET)

    def place(self, url: str) -> Place:
        """Return a place in the bucket."""
        prefix = url.removeprefix(f"gs://{BUCKET}/")
        return Place(Objects(self, url, prefix), Cell(self, prefix))

    def names(self, prefix: str) -> list[str]:
        """Return the names of what is in a place, without its prefix."""
        start = f"{prefix}/"
        there = self.buckets.names(BUCKET)
        return [name.removeprefix(start) for name in there if name.startswith(start)]

    def content(self, name: str) -> bytes:
        """Return what an object holds, by its whole name; nothing goes wrong here."""
        return bytes(self.buckets.content(BUCKET, name))

    def before(self, word: str, name: str) -> str | None:
        """Let a call be met by a fault before anything is done; return one that comes after."""
        kind = self.faults.meet(word, name)
        if kind in ("dead", "unavailable"):
            raise StoreUnavailable(f"the store does not answer ({kind})")
        if kind == "refused":
            raise StoreRefused("the store refuses")
        return kind


class Objects:
    """The objects below a prefix (`daemon.backup.store.ObjectStore`)."""

    def __init__(self, bucket: Bucket, url: str, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self.url = url
        self.capabilities = Capabilities()

    def _full(self, name: str) -> str:
        return f"{self._prefix}/{checked_name(name)}"

    def _stored(self, found: Object) -> StoredObject:
        checksum = int(found.fields.get("metadata", {}).get("crc", "0"))
        metadata = {k: v for k, v in found.fields.get("metadata", {}).items() if k != "crc"}
        name = found.name.removeprefix(f"{self._prefix}/")
        return StoredObject(name, found.size, checksum, round(found.created * 1e6), metadata)

    def put_if_absent(
        self, name: str, source: BinaryIO, size: int, metadata: Mapping[str, str]
    ) -> StoredObject:
        """Store an object, whole or not at all."""
        after = self._bucket.before("put", name)
        content = source.read(size)
        told = {"name": self._full(name), "metadata": {**metadata, "crc": str(_crc(content))}}
        try:
            made = self._bucket.buckets.insert(
                BUCKET, told, content, {"ifGenerationMatch": "0"}, {}
            )
        except Refusal:
            made = self._bucket.buckets.get(BUCKET, self._full(name), {})
            if bytes(made.content) != content:
                raise AlreadyThere(f"{name} holds something else") from None
        if after == "answer lost":
            raise StoreUnavailable("the answer was lost")
        return self._stored(made)

    def find(self, name: str) -> StoredObject | None:
        """Describe an object."""
        self._bucket.before("find", name)
        try:
            return self._stored(self._bucket.buckets.get(BUCKET, self._full(name), {}))
        except Refusal:
            return None

    def _content(self, name: str) -> bytes:
        try:
            return self._bucket.buckets.content(BUCKET, self._full(name))
        except Refusal:
            raise ObjectMissing(f"there is no {name}") from None

    def get(self, name: str, start: int = 0) -> Iterator[bytes]:
        """Yield the content of an object."""
        kind = self._bucket.before("get", name)
        content = self._content(name)
        end = len(content) // 2 if kind == "broken download" else len(content)
        for at in range(start, end, _PIECE_BYTES):
            yield content[at : min(at + _PIECE_BYTES, end)]
        if kind == "broken download":
            raise StoreUnavailable("the download broke")
        if kind == "damaged download":
            raise ObjectDamaged(f"{name} is not what was stored")

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """Return a part of an object."""
        self._bucket.before("range", name)
        return self._content(name)[start : start + length]

    def list(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        """Yield the objects of a prefix."""
        self._bucket.before("list", prefix)
        for name in self._bucket.names(self._prefix):
            if name.startswith(prefix) and name > after:
                yield self._stored(self._bucket.buckets.get(BUCKET, self._full(name), {}))

    def delete(self, name: str) -> None:
        """Remove an object."""
        after = self._bucket.before("remove", name)
        try:
            self._bucket.buckets.delete(BUCKET, self._full(name), {})
        except Refusal:
            return
        if after == "answer lost":
            raise StoreUnavailable("the answer was lost")


class Cell:
    """The small object of a place (`daemon.backup.store.Register`)."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self._bucket = bucket
        self._name = f"{prefix}/{MANIFEST}"

    def read(self) -> Versioned | None:
        """Return what it holds."""
        self._bucket.before("look", MANIFEST)
        try:
            found = self._bucket.buckets.get(BUCKET, self._name, {})
        except Refusal:
            return None
        return Versioned(bytes(found.content), str(found.generation))

    def swap(self, content: bytes, version: str | None) -> str:
        """Replace what it holds."""
        after = self._bucket.before("swap", MANIFEST)
        try:
            made = self._bucket.buckets.insert(
                BUCKET, {"name": self._name}, content, {"ifGenerationMatch": version or "0"}, {}
            )
        except Refusal:
            there = self._bucket.buckets.get(BUCKET, self._name, {})
            if bytes(there.content) != content:
                raise SwapLost("another version") from None
            made = there
        if after == "answer lost":
            raise StoreUnavailable("the answer was lost")
        return str(made.generation)


def _crc(content: bytes) -> int:
    return google_crc32c.value(content)
