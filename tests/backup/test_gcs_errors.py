"""What Google's libraries raise is told in our words: every class, and none of the texts."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType

import pytest
import requests
import urllib3.exceptions
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from gcs_fake import GcsFake
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
from daemon.backup.gcs_errors import FAILURES, passes, translated
from daemon.backup.gcs_store import GcsBucket, GcsStore
from daemon.config import STORE_CREDENTIAL

SECRET = "https://storage.example/upload?upload_id=secret"
KEY = {
    "type": "service_account",
    "client_email": "chronicled@example.iam.gserviceaccount.com",
    "private_key": SECRET,
    "token_uri": "http://127.0.0.1:1/token",
}


def classes(module: ModuleType) -> list[type[Exception]]:
    """Return the exceptions that a module defines; warnings and what asyncio needs apart."""
    return [
        value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Exception)
        and not issubclass(value, Warning | NotImplementedError)
        and value.__module__ == module.__name__
    ]


@pytest.mark.parametrize("module", [api, auth, storage, requests.exceptions, urllib3.exceptions])
def test_every_class_is_translated_without_its_text(module: ModuleType) -> None:
    """Each class of error is caught, becomes one of ours, and takes no text along."""
    found = classes(module)
    assert len(found) > 2
    for each in found:
        error = each.__new__(each)
        BaseException.__init__(error, SECRET)
        assert isinstance(error, FAILURES), each
        told = translated(error, "segments/a")
        assert isinstance(told, BackupError)
        assert "secret" not in f"{told} {told.operator_hint}"
        assert "segments/a" in str(told)


def wrapped(inner: Exception) -> requests.ConnectionError:
    """Return an error as requests and urllib3 wrap it."""
    pool = urllib3.connectionpool.HTTPConnectionPool("storage.example")
    return requests.ConnectionError(urllib3.exceptions.MaxRetryError(pool, SECRET, inner))


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (api.ServiceUnavailable(SECRET), StoreUnavailable, "503 Service Unavailable"),
        (api.TooManyRequests(SECRET), StoreUnavailable, "429 Too Many Requests"),
        (api.from_http_status(408, SECRET), StoreUnavailable, "408 Request Timeout"),
        (api.from_http_status(599, SECRET), StoreUnavailable, "599"),
        (api.RetryError(SECRET, api.BadGateway(SECRET)), StoreUnavailable, "502 Bad Gateway"),
        (api.BadRequest(SECRET), StoreRefused, "400 Bad Request"),
        (api.Unauthorized(SECRET), StoreRefused, "401 Unauthorized"),
        (api.Forbidden(SECRET), StoreRefused, "403 Forbidden"),
        (api.NotFound(SECRET), ObjectMissing, "is not there"),
        (auth.DefaultCredentialsError(SECRET), StoreRefused, "DefaultCredentialsError"),
        (auth.RefreshError(SECRET), StoreRefused, "RefreshError"),
        (auth.RefreshError(SECRET, retryable=True), StoreUnavailable, "RefreshError"),
        (auth.InvalidOperation(SECRET), StoreRefused, "InvalidOperation"),
        (auth.TransportError(SECRET), StoreUnavailable, "TransportError"),
        (storage.DataCorruption(None, SECRET), ObjectDamaged, "checksum"),
        (requests.Timeout(SECRET), StoreUnavailable, "Timeout"),
        (wrapped(ConnectionRefusedError(111, SECRET)), StoreUnavailable, "Connection refused"),
        (wrapped(socket.gaierror(-2, SECRET)), StoreUnavailable, "name of the host"),
        (ValueError(SECRET), StoreUnavailable, "ValueError"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_what_an_error_becomes(error: Exception, kind: type[BackupError], told: str) -> None:
    """What may pass is unavailable, what an operator has to settle is refused, and it says why."""
    failure = translated(error, "segments/a")
    assert type(failure) is kind
    assert told in failure.detail
    assert "secret" not in failure.detail
    assert passes(error) == (kind is StoreUnavailable and not isinstance(error, ValueError))


@pytest.mark.parametrize("content", ["", "{}", "[]", "not JSON", json.dumps(KEY), None])
def test_a_key_that_is_none(tmp_path: Path, content: str | None) -> None:
    """A key that is missing or malformed is refused, and nothing of it is told."""
    path = tmp_path / "key.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(StoreRefused, match="the key of the service account") as caught:
        GcsStore(GcsBucket("kept", credentials=path)).find("a")
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_default_credentials_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Application default credentials that cannot be found are refused, with what to do."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "secret.json"))
    with pytest.raises(StoreRefused, match="DefaultCredentialsError") as caught:
        GcsStore(GcsBucket("kept")).find("a")
    assert STORE_CREDENTIAL in caught.value.operator_hint
    assert "secret" not in str(caught.value)


class TokenServer(BaseHTTPRequestHandler):
    """Gives a token to whoever asks."""

    def do_POST(self) -> None:
        """Answer a request for a token."""
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"access_token": "given", "expires_in": 3600, "token_type": "Bearer"}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def token_uri() -> Iterator[str]:
    """Return the address of a running token server."""
    with HTTPServer(("127.0.0.1", 0), TokenServer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/token"
        server.shutdown()
        thread.join(20)


def written_key(path: Path, token_uri: str) -> Path:
    """Write the key of a service account, with a new private key in it."""
    private = rsa.generate_private_key(65537, 2048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    path.write_text(json.dumps({**KEY, "private_key": private.decode(), "token_uri": token_uri}))
    return path


def test_a_key_is_used(
    gcs_fake: GcsFake, tmp_path: Path, token_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the key of a service account every request brings a token that was got for it."""
    monkeypatch.setenv("API_ENDPOINT_OVERRIDE", gcs_fake.url)
    key = written_key(tmp_path / "key.json", token_uri)
    assert GcsStore(GcsBucket("kept", credentials=key)).find("a") is None
    assert gcs_fake.authorizations == {"Bearer given"}


def test_a_token_server_that_is_not_there(tmp_path: Path) -> None:
    """A token server that cannot be reached may come back: the store is unavailable."""
    key = written_key(tmp_path / "key.json", "http://127.0.0.1:1/token")
    bucket = GcsBucket("kept", credentials=key, timeout_seconds=0.5)
    with pytest.raises(StoreUnavailable, match="Connection refused"):
        GcsStore(bucket).find("a")
