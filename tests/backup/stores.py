"""Opening places, and short words for what tests do with them."""

from __future__ import annotations

import io
from collections.abc import Callable
from uuid import uuid4

from daemon.backup.gcs_store import GcsBucket, GcsRegister, GcsStore
from daemon.backup.store import Place, StoredObject

Open = Callable[[], Place]
"""Returns a place, the same one each time, through a store of its own each time."""


def bucket_opener(endpoint: str, bucket: str, **options: object) -> Open:
    """Return what opens one new prefix of a bucket."""
    prefix = f"run-{uuid4().hex}/of tests"

    def opened() -> Place:
        reached = GcsBucket(bucket, endpoint=endpoint, timeout_seconds=20, **options)
        return Place(GcsStore(reached, prefix), GcsRegister(reached, prefix))

    return opened


def put(place: Place, name: str, content: bytes = b"content", **metadata: str) -> StoredObject:
    """Store bytes."""
    return place.objects.put_if_absent(name, io.BytesIO(content), len(content), metadata)


def content_of(place: Place, name: str, start: int = 0) -> bytes:
    """Return the content of an object."""
    return b"".join(place.objects.get(name, start))


def names(place: Place, prefix: str, after: str = "") -> list[str]:
    """Return the names that a list has."""
    return [stored.name for stored in place.objects.list(prefix, after)]
