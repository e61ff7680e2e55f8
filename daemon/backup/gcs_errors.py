"""What the libraries below Google Cloud Storage raise, in the words of the backup.

Their own texts are never taken over. They hold whole URLs (the id of an upload in one is a
secret), bodies of answers, and paths of keys. What is told: the class of the error, the HTTP
status with its standard phrase, and what the operating system says of a connection.
"""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

import requests
import urllib3.exceptions
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud.storage import exceptions as storage

from daemon.backup.errors import (
    BackupError,
    ObjectDamaged,
    ObjectMissing,
    StoreRefused,
    StoreUnavailable,
)

FAILURES: Final = (
    api.GoogleAPIError,
    auth.GoogleAuthError,
    storage.DataCorruption,
    storage.InvalidPathError,
    storage.InvalidResponse,
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    KeyError,
    ValueError,
)
"""Whatever a call may raise; the last two come of answers that are not what the API promises."""

_DEPTH: Final = 8
"""How far the causes of an error are followed; they may lead in a circle."""
_PASSING: Final = frozenset({408, 409, 425, 429})
_CREDENTIALS: Final = (
    "Give the key of a service account as the credential `chronicled.gcs.json`, or set up "
    "application default credentials."
)
_RIGHTS: Final = (
    "The service account needs storage.objects.create, .get, .list and .delete on the bucket."
)
_BUCKET: Final = "Create the bucket, or correct [backup] url."


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an error is about, None when there was no answer."""
    for each in _causes(error):
        if isinstance(each, storage.InvalidResponse):
            return getattr(getattr(each, "response", None), "status_code", None)
        if isinstance(each, api.GoogleAPICallError):
            return each.code
    return None


def translated(error: BaseException, what: str) -> BackupError:
    """Return the error of the backup for one of `FAILURES` that a step (``what``) met."""
    status = status_of(error)
    told = f"{what}: {_phrase(status) if status else _named(error)}"
    if isinstance(error, storage.DataCorruption):
        return ObjectDamaged(f"{what} does not have its checksum")
    if status == HTTPStatus.NOT_FOUND:
        return ObjectMissing(f"{what} is not there")
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return StoreRefused(told, hint=_RIGHTS)
    if _is_of_credentials(error):
        return StoreRefused(told, hint=_CREDENTIALS)
    passes = status is None or status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return StoreUnavailable(told) if passes else StoreRefused(told)


def passes(error: BaseException) -> bool:
    """Tell an error that may pass by itself, so that the call is worth another try."""
    understood = isinstance(error, FAILURES) and not isinstance(error, KeyError | ValueError)
    return understood and isinstance(translated(error, ""), StoreUnavailable)


def release(error: BaseException) -> None:
    """Close the answer that an error is about: nobody reads the rest of it."""
    for each in _causes(error):
        response = getattr(each, "response", None)
        if isinstance(response, requests.Response):
            response.close()


def bucket_missing(bucket: str) -> StoreRefused:
    """Return the error of a bucket that does not exist."""
    return StoreRefused(f"there is no bucket {bucket}", hint=_BUCKET)


def key_refused(reason: str) -> StoreRefused:
    """Return the error of a key that cannot be used."""
    return StoreRefused(f"the key of the service account: {reason}", hint=_CREDENTIALS)


def _is_of_credentials(error: BaseException) -> bool:
    """Tell what only an operator can put right from a token server that cannot be reached."""
    for each in _causes(error):
        if isinstance(each, auth.GoogleAuthError):
            passes = isinstance(each, auth.TransportError) or getattr(each, "retryable", False)
            return not passes
    return False


def _named(error: BaseException) -> str:
    """Return the class of an error and, of a connection, why it failed."""
    name = type(error).__name__
    for each in _causes(error):
        name = type(each).__name__
        if isinstance(each, socket.gaierror):
            return f"{name} (the name of the host is not known)"
        if isinstance(each, OSError) and isinstance(each.errno, int):
            return f"{name} ({os.strerror(each.errno)})"
    return name


def _phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was made of: a cause, or an argument that is an error."""
    each: BaseException | None = error
    for _ in range(_DEPTH):
        if each is None:
            return
        yield each
        inner = [part for part in _parts(each) if isinstance(part, BaseException)]
        each = inner[0] if inner else each.__cause__ or each.__context__


def _parts(error: BaseException) -> Iterator[object]:
    yield getattr(error, "cause", None)  # google.api_core's RetryError
    yield getattr(error, "reason", None)  # urllib3's MaxRetryError
    yield from error.args
