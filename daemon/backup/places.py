"""From the url of a place to its store."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

from daemon.backup.directory_store import DirectoryRegister, DirectoryStore
from daemon.backup.store import Place, checked_name
from domain.errors import ChronicledError, ConfigurationError
from domain.suggest import did_you_mean

SCHEMES: Final = ("file", "gs")

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_EXAMPLES: Final = "Such as gs://bucket/prefix or file:///var/backups/chronicled."


class _Target(NamedTuple):
    """Where a url leads: to a bucket, or to a directory."""

    bucket: str
    prefix: str
    directory: Path

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the path, or of the prefix."""
        return (
            self.directory.parts if not self.bucket else tuple(filter(None, self.prefix.split("/")))
        )


def check_url(url: str, data: Path) -> None:
    """Check that a url names a place, and one outside of the data directory.

    Raises:
        ConfigurationError: it does not; the text says why.

    """
    _parse(url, data)


def check_apart(url: str, other: str, data: Path) -> None:
    """Check that neither of two places is in the other one; both urls name a place.

    Raises:
        ConfigurationError: one of them is.

    """
    one, two = _parse(url, data), _parse(other, data)
    if one.bucket == two.bucket and _nested(one.parts, two.parts):
        raise _refused("one of the backup and the archive is in the other; give each its own place")


def _nested(one: tuple[str, ...], two: tuple[str, ...]) -> bool:
    shorter = min(len(one), len(two))
    return one[:shorter] == two[:shorter]


def open_place(
    url: str,
    *,
    data: Path,
    timeout_seconds: float = 60.0,
    credentials: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Place:
    """Return the place of a url. Nothing is asked of it yet.

    ``credentials`` is the key of a service account; without it the application default
    credentials are taken.

    Raises:
        ConfigurationError: the url names no place, or one in the data directory.

    """
    target = _parse(url, data)
    if not target.bucket:
        return Place(
            DirectoryStore(target.directory, timeout_seconds=timeout_seconds),
            DirectoryRegister(target.directory, timeout_seconds=timeout_seconds),
        )
    from daemon.backup.gcs_store import GcsBucket, GcsRegister, GcsStore

    bucket = GcsBucket(
        target.bucket,
        endpoint=_endpoint(environment),
        credentials=credentials,
        timeout_seconds=timeout_seconds,
    )
    return Place(GcsStore(bucket, target.prefix), GcsRegister(bucket, target.prefix))


def _endpoint(environment: Mapping[str, str]) -> str | None:
    """Return the address of an emulator; like Google's client, take one without a scheme."""
    host = environment.get("STORAGE_EMULATOR_HOST")
    return (host if "://" in host else f"http://{host}") if host else None


def _parse(url: str, data: Path) -> _Target:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _refused("it is not a url") from None
    if parts.scheme not in SCHEMES:
        known = did_you_mean(parts.scheme, SCHEMES)
        raise _refused(f"it begins with neither file:// nor gs://; {known}")
    # A url may be shown; what could be a secret in one is refused, and not repeated.
    if parts.query or parts.fragment or "?" in url or "#" in url or "@" in parts.netloc:
        raise _refused("it may hold no user, query or fragment; write ? and # as %3F and %23")
    if parts.scheme == "gs":
        return _bucket(parts)
    return _Target("", "", _directory(parts, data))


def _bucket(parts: SplitResult) -> _Target:
    bucket, prefix = parts.netloc, _decoded(parts.path).strip("/")
    if not _BUCKET.fullmatch(bucket):
        raise _refused("gs:// is followed by the name of a bucket")
    try:
        checked_name(prefix or "whole")
    except ChronicledError:
        raise _refused("the prefix has an empty or a hidden part") from None
    return _Target(bucket, prefix, Path())


def _directory(parts: SplitResult, data: Path) -> Path:
    if parts.netloc:
        raise _refused("file:// is followed by a whole path: three slashes, and no host")
    text = _decoded(parts.path)
    if not text.startswith("/") or "\0" in text:
        raise _refused("file:// is followed by a whole path")
    try:
        directory, own = Path(text).resolve(), data.resolve()
    except (OSError, RuntimeError):
        raise _refused("its path cannot be followed") from None
    if directory.is_relative_to(own):
        raise _refused("it is in the data directory, and would be lost with it")
    if own.is_relative_to(directory):
        raise _refused("the data directory is in it")
    return directory


def _decoded(path: str) -> str:
    try:
        return unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        raise _refused("what stands behind % is not UTF-8") from None


def _refused(why: str) -> ConfigurationError:
    return ConfigurationError(f"[backup] url: {why}", hint=_EXAMPLES)
