"""Objects in a bucket of Google Cloud Storage: ``gs://bucket/prefix``.

The one module that talks to Google's client; it is imported when such a place is opened, and not
before, as the client takes a second to load.
"""

from __future__ import annotations

import base64
import contextlib
import io
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

import google_crc32c
from google.api_core.retry import Retry
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Blob, Bucket, Client
from google.oauth2.service_account import Credentials

from daemon.backup.checksum import crc32c_of, verified
from daemon.backup.errors import (
    AlreadyThere,
    BackupError,
    ObjectMissing,
    StoreUnavailable,
    SwapLost,
)
from daemon.backup.gcs_errors import (
    FAILURES,
    bucket_missing,
    key_refused,
    passes,
    release,
    status_of,
    translated,
)
from daemon.backup.store import (
    CHUNK_BYTES,
    MANIFEST,
    Capabilities,
    StoredObject,
    Versioned,
    checked_name,
)

T = TypeVar("T")

_TRANSFER_BYTES: Final = 8 << 20
"""What goes in one request; as much is held in memory, twice."""
_BYTES_PER_SECOND_MIN: Final = 256 << 10
"""An upload that is slower than this for its whole length is given up."""
_ATTEMPTS: Final = 4
"""How often an upload is begun again, or a download asked for bytes that do not come."""
_LOST: Final = "the manifest is no longer what was read"
_EVERYTHING: Final = Capabilities()
_NO_BUCKET_ASKED: Final = "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"
"""Unless told this, the client asks for the bucket itself, for traces that nobody takes.

It does so in a thread of its own, for two minutes where the store fails; and needs a right for it.
"""
_SCOPES: Final = ("https://www.googleapis.com/auth/devstorage.read_write",)
_AGAIN: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
"""Statuses of an upload whose bytes were damaged on the way, or whose session has expired."""


class GcsBucket:
    """A bucket, the client that reaches it, and how long it is waited for.

    A call that fails is tried again for ``timeout_seconds``; each request in it waits for
    ``request_seconds`` at most. With an ``endpoint`` (an emulator) no credentials are sent;
    without ``credentials``, the key of a service account, the application default ones are.
    """

    def __init__(
        self,
        name: str,
        *,
        endpoint: str | None = None,
        credentials: Path | None = None,
        timeout_seconds: float = 60.0,
        request_seconds: float = 20.0,
        capabilities: Capabilities = _EVERYTHING,
    ) -> None:
        self.name = name
        self.capabilities = capabilities
        self.timeout_seconds = timeout_seconds
        self._request_seconds = min(request_seconds, timeout_seconds)
        self._endpoint = endpoint
        self._credentials = credentials
        self._bucket: Bucket | None = None
        self._opening = threading.Lock()

    @property
    def limits(self) -> dict[str, object]:
        """How long a call of the client may take: its arguments ``retry`` and ``timeout``."""
        retry = Retry(
            passes,
            initial=0.25,
            maximum=8.0,
            multiplier=2.0,
            timeout=self.timeout_seconds,
            on_error=release,
        )
        return {"retry": retry, "timeout": (self._request_seconds, self._request_seconds)}

    def ask(self, what: str, call: Callable[[Bucket], T]) -> T:
        """Return what a call returns, or raise what it fails with in our words.

        The error is raised outside of the handler: so it has no context, and no traceback can
        show the texts of the libraries.
        """
        try:
            return self.call(call)
        except FAILURES as error:
            failure = translated(error, what)
        raise failure

    def call(self, call: Callable[[Bucket], T]) -> T:
        """Return what a call returns, or raise what it fails with: one of `FAILURES`."""
        try:
            return call(self._opened())
        except FAILURES as error:
            release(error)
            raise

    def require(self) -> None:
        """Raise an error unless the bucket exists.

        An object and a bucket that are missing answer alike. Listing is a right that we have;
        reading the bucket itself is one that we need not have.
        """
        self.listed(lambda bucket: list(bucket.list_blobs(max_results=1, **self.limits)))

    def listed(self, call: Callable[[Bucket], T]) -> T:
        """Return what a call returns that says "not found" only of the bucket itself."""
        try:
            return self.ask("the list", call)
        except ObjectMissing:
            raise bucket_missing(self.name) from None

    def _opened(self) -> Bucket:
        with self._opening:
            if self._bucket is None:
                self._bucket = self._client().bucket(self.name)
            return self._bucket

    def _client(self) -> Client:
        os.environ[_NO_BUCKET_ASKED] = "true"
        # At their lower levels these log whole URLs, and with them the ids of uploads.
        for logger in ("google", "requests", "urllib3"):
            logging.getLogger(logger).setLevel(logging.ERROR)
        if self._endpoint is not None:
            return Client(
                project=None,
                credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
                client_options={"api_endpoint": self._endpoint},
            )
        if self._credentials is None:
            return Client(project=None)
        return Client(project=None, credentials=_key(self._credentials))


def _key(path: Path) -> Credentials:
    try:
        key: Credentials = Credentials.from_service_account_file(  # type: ignore[no-untyped-call]
            path, scopes=_SCOPES
        )
    except OSError as error:
        reason = error.strerror or "it cannot be read"
    except (AttributeError, KeyError, TypeError, ValueError):
        reason = "the file does not hold one"
    else:
        return key
    raise key_refused(reason)


class GcsStore:
    """The objects of a prefix in a bucket; see `daemon.backup.store.ObjectStore`."""

    def __init__(self, bucket: GcsBucket, prefix: str = "") -> None:
        """Use a prefix; without one, the whole bucket."""
        self._bucket = bucket
        self._prefix = _folder(prefix)

    @property
    def url(self) -> str:
        """Where this is."""
        return f"gs://{self._bucket.name}/{self._prefix}".rstrip("/")

    @property
    def capabilities(self) -> Capabilities:
        """What the bucket keeps to."""
        return self._bucket.capabilities

    def put_if_absent(
        self, name: str, source: BinaryIO, size: int, metadata: Mapping[str, str]
    ) -> StoredObject:
        """Store an object; see the protocol.

        The checksum goes ahead of the content: the bucket refuses what does not fit it, so that no
        damaged object is ever there.
        """
        limit = self._bucket.timeout_seconds + size / _BYTES_PER_SECOND_MIN
        part = _Part(source, size, time.monotonic() + limit)
        wanted = StoredObject(checked_name(name), size, crc32c_of(part, size), 0, metadata)
        if not self.capabilities.preconditions and (there := self.find(name)):
            return _same(there, wanted)
        failure: BackupError
        for _ in range(_ATTEMPTS):
            outcome = self._uploaded(part, wanted)
            if isinstance(outcome, StoredObject):
                return outcome
            failure = outcome
        raise failure

    def _uploaded(self, part: _Part, wanted: StoredObject) -> StoredObject | BackupError:
        """Upload once; return why it may be begun again where that may help."""
        name = wanted.name
        part.seek(0)
        try:
            return self._bucket.call(lambda bucket: self._upload(bucket, part, wanted))
        except FAILURES as error:
            status, failure = status_of(error), translated(error, name)
            again = status in _AGAIN or isinstance(error, ValueError)
        if part.failure is not None:
            raise part.failure
        if status == HTTPStatus.PRECONDITION_FAILED:
            there = self.find(name)
            return _same(there, wanted) if there else StoreUnavailable(f"{name} comes and goes")
        if status == HTTPStatus.NOT_FOUND:
            self._bucket.require()
            return StoreUnavailable(f"{name}: the store has forgotten the upload")
        if not again:
            raise failure
        return failure

    def _upload(self, bucket: Bucket, part: _Part, wanted: StoredObject) -> StoredObject:
        blob = bucket.blob(self._prefix + wanted.name, chunk_size=_TRANSFER_BYTES)
        blob.metadata = dict(wanted.metadata)
        blob.crc32c = _encoded(wanted.crc32c)
        blob.upload_from_file(
            part,
            size=wanted.size,
            content_type="application/octet-stream",
            if_generation_match=0,
            checksum=None,
            **self._bucket.limits,
        )
        return _same(_described(blob, wanted.name), wanted)

    def find(self, name: str) -> StoredObject | None:
        """Describe an object; see the protocol."""
        blob = self._find(name)
        return _described(blob, name) if blob else None

    def _find(self, name: str) -> Blob | None:
        key = self._prefix + checked_name(name)
        blob = self._bucket.ask(name, lambda bucket: bucket.get_blob(key, **self._bucket.limits))
        if blob is None:
            self._bucket.require()
        return blob

    def get(self, name: str, start: int = 0) -> Iterator[bytes]:
        """Yield the content of an object; see the protocol."""
        blob = self._find(name)
        if blob is None:
            raise ObjectMissing(f"{name} is not there")
        stored = _described(blob, name)
        yield from verified(self._pieces(blob, stored, start), stored, start)

    def _pieces(self, blob: Blob, stored: StoredObject, start: int) -> Iterator[bytes]:
        """Yield what comes of an object, of the generation that was described, up to its length."""
        empty = 0
        while start < stored.size and empty < _ATTEMPTS:
            length = min(_TRANSFER_BYTES, stored.size - start)
            content = self._range(blob, stored.name, start, length)
            for offset in range(0, len(content), CHUNK_BYTES):
                yield content[offset : offset + CHUNK_BYTES]
            start += len(content)
            empty = 0 if content else empty + 1

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """Return a part of an object; see the protocol."""
        key = self._prefix + checked_name(name)
        blob = self._bucket.ask(name, lambda bucket: bucket.blob(key))
        try:
            return self._range(blob, name, start, length)
        except ObjectMissing as error:
            missing = error
        self._bucket.require()
        raise missing

    def _range(self, blob: Blob, name: str, start: int, length: int) -> bytes:
        """Return what there is of a range; a transfer that breaks goes on where it broke."""
        try:
            content: bytes = self._bucket.call(
                lambda _: blob.download_as_bytes(
                    start=start,
                    end=start + length - 1,
                    raw_download=True,
                    checksum=None,
                    **self._bucket.limits,
                )
            )
        except FAILURES as error:
            status, failure = status_of(error), translated(error, name)
        else:
            return content[:length]
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return b""
        raise failure

    def list(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        """Yield the objects of a prefix by name; see the protocol."""
        first = self._prefix + max(prefix, after)
        blobs = self._bucket.listed(
            lambda bucket: iter(
                bucket.list_blobs(
                    prefix=self._prefix + prefix, start_offset=first, **self._bucket.limits
                )
            )
        )
        while blob := self._bucket.listed(lambda _: next(blobs, None)):
            name = blob.name.removeprefix(self._prefix)
            if name > after:
                yield _described(blob, name)

    def delete(self, name: str) -> None:
        """Remove an object; see the protocol."""
        key = self._prefix + checked_name(name)
        with contextlib.suppress(ObjectMissing):
            self._bucket.ask(name, lambda bucket: bucket.blob(key).delete(**self._bucket.limits))


class GcsRegister:
    """The register of a prefix in a bucket; see `daemon.backup.store.Register`."""

    def __init__(self, bucket: GcsBucket, prefix: str = "") -> None:
        """Use the object of that purpose below a prefix."""
        self._bucket = bucket
        self._key = _folder(prefix) + MANIFEST

    def read(self) -> Versioned | None:
        """Return what it holds; see the protocol."""
        try:
            return self._bucket.ask(MANIFEST, self._read)
        except ObjectMissing:
            self._bucket.require()
            return None

    def _read(self, bucket: Bucket) -> Versioned:
        blob = bucket.blob(self._key)
        content = blob.download_as_bytes(
            raw_download=True, checksum="crc32c", **self._bucket.limits
        )
        # The answer that brought the content names its generation, so that they belong together.
        # An emulator, which refuses no second writer anyway, has to be asked.
        if blob.generation is None:
            blob.reload(**self._bucket.limits)
        return Versioned(content, str(int(blob.generation)))

    def swap(self, content: bytes, version: str | None) -> str:
        """Replace what it holds; see the protocol."""
        if not self._bucket.capabilities.preconditions:
            self._compare(content, version)
        try:
            return self._bucket.call(lambda bucket: self._write(bucket, content, version))
        except FAILURES as error:
            status, failure = status_of(error), translated(error, MANIFEST)
        if status == HTTPStatus.NOT_FOUND:
            self._bucket.require()
        if status != HTTPStatus.PRECONDITION_FAILED:
            raise failure
        # Of an earlier attempt perhaps only the answer was lost: then it holds our content.
        held = self.read()
        if held and held.content == content:
            return held.version
        raise SwapLost(_LOST)

    def _compare(self, content: bytes, version: str | None) -> None:
        held = self.read()
        if (held.version if held else None) != version and not (held and held.content == content):
            raise SwapLost(_LOST)

    def _write(self, bucket: Bucket, content: bytes, version: str | None) -> str:
        blob = bucket.blob(self._key)
        # What a cache between us and the bucket still holds is no manifest.
        blob.cache_control = "no-store"
        blob.crc32c = _encoded(google_crc32c.value(content))
        blob.upload_from_string(
            content,
            content_type="application/json",
            if_generation_match=int(version or 0),
            checksum=None,
            **self._bucket.limits,
        )
        return str(int(blob.generation))


class _Part:
    """A part of a local file that the client takes for a whole one, up to a deadline."""

    def __init__(self, source: BinaryIO, size: int, deadline: float) -> None:
        self.failure: OSError | None = None
        """Why the source itself could not be read, which says nothing of the store."""
        self._source = source
        self._start = source.tell()
        self._size = size
        self._deadline = deadline

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        if time.monotonic() > self._deadline:
            raise StoreUnavailable("the upload is too slow, and was given up")
        left = self._size - self.tell()
        try:
            return self._source.read(left if size < 0 else min(size, left))
        except OSError as error:
            self.failure = error
            raise

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte of the part."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self._size}[whence]
        return self._source.seek(self._start + base + offset) - self._start

    def tell(self) -> int:
        """Return which byte of the part comes next."""
        return self._source.tell() - self._start


def _same(there: StoredObject, wanted: StoredObject) -> StoredObject:
    """Return what is there, if its content is what is wanted."""
    if (there.size, there.crc32c) != (wanted.size, wanted.crc32c):
        raise AlreadyThere(f"{wanted.name} is there, and holds something else")
    return there


def _described(blob: Blob, name: str) -> StoredObject:
    created = blob.time_created
    return StoredObject(
        name,
        blob.size,
        int.from_bytes(base64.b64decode(blob.crc32c), "big"),
        round(created.timestamp() * 1_000_000) if created else 0,
        blob.metadata or {},
    )


def _encoded(crc: int) -> str:
    return base64.b64encode(crc.to_bytes(4, "big")).decode()


def _folder(prefix: str) -> str:
    return f"{prefix.strip('/')}/" if prefix.strip("/") else ""
