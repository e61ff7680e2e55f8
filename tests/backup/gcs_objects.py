"""What the fake of Google Cloud Storage holds: buckets, objects, generations and preconditions."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import google_crc32c

Query = Mapping[str, str]
PAGE_MAX = 1000


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, reason: str = "refused") -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def crc32c(content: bytes | bytearray) -> str:
    """Return the checksum as the API writes it."""
    return base64.b64encode(google_crc32c.value(bytes(content)).to_bytes(4, "big")).decode()


def md5(content: bytes | bytearray) -> str:
    """Return the other checksum as the API writes it."""
    return base64.b64encode(hashlib.md5(content).digest()).decode()


@dataclass(frozen=True)
class Object:
    """One generation of an object. Its size and checksums are kept apart from its content."""

    bucket: str
    name: str
    content: bytes | bytearray
    size: int
    crc32c: str
    md5: str
    generation: int
    metageneration: int
    created: float
    fields: Mapping[str, Any]

    def resource(self) -> dict[str, Any]:
        """Return the description that the API gives."""
        created = datetime.fromtimestamp(self.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "kind": "storage#object",
            "id": f"{self.bucket}/{self.name}/{self.generation}",
            "bucket": self.bucket,
            "name": self.name,
            "size": str(self.size),
            "crc32c": self.crc32c,
            "md5Hash": self.md5,
            "generation": str(self.generation),
            "metageneration": str(self.metageneration),
            "etag": f"{self.generation}/{self.metageneration}",
            "timeCreated": created,
            "updated": created,
            "storageClass": "STANDARD",
            **self.fields,
        }


KEPT_FIELDS = ("contentType", "metadata", "cacheControl", "contentEncoding", "contentDisposition")


def check(found: Object | None, query: Query, prefix: str = "if") -> None:
    """Refuse a request whose preconditions do not hold."""
    generation = found.generation if found else 0
    metageneration = found.metageneration if found else 0
    for word, value in (("Generation", generation), ("Metageneration", metageneration)):
        wanted = query.get(f"{prefix}{word}Match")
        unwanted = query.get(f"{prefix}{word}NotMatch")
        if wanted is not None and int(wanted) != value:
            raise Refusal(412, "conditionNotMet")
        if unwanted is not None and int(unwanted) == value:
            raise Refusal(412, "conditionNotMet")


class Buckets:
    """The buckets, changed under one lock: of several creators at once exactly one wins."""

    def __init__(self) -> None:
        self.clock_skew_seconds = 0.0
        self.page_max = PAGE_MAX
        self._lock = threading.RLock()
        self._buckets: dict[str, dict[str, Object]] = {}
        self._generation = 0

    def create_bucket(self, name: str) -> dict[str, Any]:
        """Create a bucket."""
        with self._lock:
            if name in self._buckets:
                raise Refusal(409, "conflict")
            self._buckets[name] = {}
        return self.bucket(name)

    def bucket(self, name: str) -> dict[str, Any]:
        """Describe a bucket."""
        self._objects(name)
        return {"kind": "storage#bucket", "id": name, "name": name, "metageneration": "1"}

    def remove_bucket(self, name: str) -> None:
        """Remove a bucket with all that is in it."""
        with self._lock:
            self._buckets.pop(name)

    def _objects(self, bucket: str) -> dict[str, Object]:
        try:
            return self._buckets[bucket]
        except KeyError:
            raise Refusal(404, "notFound") from None

    def insert(
        self,
        bucket: str,
        fields: Mapping[str, Any],
        content: bytes | bytearray,
        query: Query,
        hashes: Mapping[str, str],
    ) -> Object:
        """Create a generation of an object, if its preconditions and checksums hold."""
        name = fields.get("name") or query.get("name")
        if not name:
            raise Refusal(400, "required")
        own = {"crc32c": crc32c(content), "md5": md5(content)}
        declared = {"crc32c": fields.get("crc32c"), "md5": fields.get("md5Hash")}
        for kind in own:
            for told in (declared[kind], hashes.get(kind)):
                if told is not None and told != own[kind]:
                    raise Refusal(400, "invalid")
        with self._lock:
            objects = self._objects(bucket)
            check(objects.get(name), query)
            made = Object(
                bucket,
                name,
                content,
                len(content),
                own["crc32c"],
                own["md5"],
                self._next_generation(),
                1,
                time.time() + self.clock_skew_seconds,
                {key: fields[key] for key in KEPT_FIELDS if key in fields},
            )
            objects[name] = made
            return made

    def _next_generation(self) -> int:
        """Return microseconds, 16 digits, that only ever rise."""
        self._generation = max(self._generation + 1, time.time_ns() // 1000)
        return self._generation

    def get(self, bucket: str, name: str, query: Query) -> Object:
        """Return an object; an old generation is not there, as nothing is versioned."""
        with self._lock:
            found = self._objects(bucket).get(name)
        if found is None or query.get("generation", str(found.generation)) != str(found.generation):
            raise Refusal(404, "notFound")
        check(found, query)
        return found

    def patch(self, bucket: str, name: str, fields: Mapping[str, Any], query: Query) -> Object:
        """Change the description of an object."""
        with self._lock:
            found = self.get(bucket, name, query)
            kept = {key: fields[key] for key in KEPT_FIELDS if key in fields}
            if isinstance(kept.get("metadata"), dict):
                both = {**found.fields.get("metadata", {}), **kept["metadata"]}
                kept["metadata"] = {key: value for key, value in both.items() if value is not None}
            changed = replace(
                found,
                metageneration=found.metageneration + 1,
                fields={**found.fields, **kept},
            )
            self._objects(bucket)[name] = changed
            return changed

    def delete(self, bucket: str, name: str, query: Query) -> None:
        """Remove an object."""
        with self._lock:
            self.get(bucket, name, query)
            del self._objects(bucket)[name]

    def copy(self, source: tuple[str, str], target: tuple[str, str], query: Query) -> Object:
        """Copy an object; both ends may have preconditions."""
        with self._lock:
            generation = query.get("sourceGeneration")
            found = self.get(*source, {"generation": generation} if generation else {})
            check(found, query, "ifSource")
            fields = {**found.fields, "name": target[1]}
            return self.insert(target[0], fields, found.content, query, {})

    def list(self, bucket: str, query: Query) -> dict[str, Any]:
        """Return a page of objects by name, and of the prefixes up to a delimiter."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        token = base64.urlsafe_b64decode(query.get("pageToken", "")).decode()
        limit = min(int(query.get("maxResults", self.page_max)), self.page_max)
        items: list[dict[str, Any]] = []
        prefixes: list[str] = []
        last = more = ""
        with self._lock:
            entries = sorted(self._objects(bucket).items())
        for name, found in entries:
            folder = name[: name.find(delimiter, len(prefix)) + 1] if delimiter else ""
            place = folder or name
            outside = not name.startswith(prefix) or name < query.get("startOffset", "")
            if (
                outside
                or place <= token
                or place == last
                or name >= query.get("endOffset", "\U0010ffff")
            ):
                continue
            if len(items) + len(prefixes) == limit:
                more = last
                break
            last = place
            if folder:
                prefixes.append(folder)
            else:
                items.append(found.resource())
        page: dict[str, Any] = {"kind": "storage#objects", "items": items, "prefixes": prefixes}
        if more:
            page["nextPageToken"] = base64.urlsafe_b64encode(more.encode()).decode()
        return page

    def tamper(self, bucket: str, name: str, content: bytes, *, consistent: bool = False) -> None:
        """Change what is stored of an object; ``consistent``: its size and checksums too."""
        with self._lock:
            changed = replace(self.get(bucket, name, {}), content=content)
            if consistent:
                changed = replace(
                    changed, size=len(content), crc32c=crc32c(content), md5=md5(content)
                )
            self._objects(bucket)[name] = changed

    def names(self, bucket: str) -> list[str]:
        """Return the name of every object."""
        with self._lock:
            return sorted(self._objects(bucket))

    def content(self, bucket: str, name: str) -> bytes:
        """Return what is stored of an object."""
        return bytes(self.get(bucket, name, {}).content)
