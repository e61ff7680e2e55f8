"""Finding the running daemon, and talking to it over HTTP (Unix socket or TCP)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, Self
from urllib.parse import quote, urlsplit

import httpx
import orjson

from daemon.cli.failures import CommandError
from daemon.lock import Running, find_daemon
from domain.errors import DirectoryLocked, NotReady

Params = Mapping[str, Any]

START_WAIT_SECONDS: Final = 10.0
"""How long a command waits for a daemon that holds the lock and has not opened its sockets."""

BUILD_WAIT_SECONDS: Final = 10.0
"""How long a command that reads waits for views that are being built for the first time."""

POLL_SECONDS: Final = 0.1
"""How often the daemon is asked meanwhile whether they are."""

RETRY_SECONDS: Final = 0.5
"""How often a daemon that went away is asked again."""

TIMEOUT: Final = httpx.Timeout(60.0, connect=5.0)


class UnreachableError(CommandError):
    """No answer came: refused, reset, or the daemon went away in the middle."""


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event of a stream: its id, its kind and its text."""

    id: str
    event: str
    data: str


class Reader(Protocol):
    """Whatever answers a GET of the HTTP interface: a daemon, or a data directory at rest."""

    def get(self, path: str, params: Params | None = None) -> Any:
        """Return the decoded JSON of the answer; a problem is raised as `CommandError`."""
        ...


def shown_url(url: str) -> str:
    """Return a URL as it may be repeated: without a user, a password, or a query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the URL"
    if not parts.netloc:
        # Without a scheme nobody knows which of it is a password.
        return "the URL"
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="", fragment="").geturl()


class Connection:
    """An HTTP connection to one daemon."""

    def __init__(self, *, url: str | None = None, socket: str | None = None) -> None:
        self.place = f"the socket {socket}" if socket else shown_url(url or "")
        base = "http://localhost" if socket else url or ""
        # Without TLS there is nobody to verify, and the certificates that are trusted load slowly.
        verify = not base.startswith("http:")
        transport = httpx.HTTPTransport(uds=socket, verify=verify) if socket else None
        # Neither a proxy of the environment nor a .netrc has a say in talking to the daemon.
        self._client = httpx.Client(
            base_url=base, transport=transport, timeout=TIMEOUT, trust_env=False, verify=verify
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def is_open(self) -> bool:
        """Tell whether anybody listens there; the connection is kept for what is asked next."""
        try:
            self._client.get("/healthz")
        except httpx.ConnectError:
            return False
        except httpx.TransportError:
            return True  # What is asked next says better what is wrong.
        return True

    def get(self, path: str, params: Params | None = None) -> Any:
        """Return the decoded JSON of the answer; a problem is raised as `CommandError`.

        Where views have yet to be built it is waited for them, but not for long.
        """
        try:
            return self._request("GET", path, params=params)
        except CommandError as failure:
            if failure.code != NotReady.code:
                raise
            if not self._wait_for_views():
                failure.hint = (
                    "The views are being built from the log, which takes events meanwhile: "
                    "ask again later."
                )
                raise
        return self._request("GET", path, params=params)

    def _wait_for_views(self) -> bool:
        """Wait until no view is being built for the first time; False where that takes longer."""
        deadline = time.monotonic() + BUILD_WAIT_SECONDS
        while self._builds_views():
            if time.monotonic() >= deadline:
                return False
            _pause(POLL_SECONDS)
        return True

    def _builds_views(self) -> bool:
        with self._transport_errors():
            response = self._client.get("/readyz")
        # It is 503 meanwhile, with the same document. A disk that refuses has another.
        answer = self._document(response)
        return any(each["state"] == "building" for each in answer.get("projections", ()))

    def post(self, path: str, document: Any) -> Any:
        """Send a JSON document; return the decoded JSON of the answer."""
        headers = {"content-type": "application/json"}
        return self._request("POST", path, content=orjson.dumps(document), headers=headers)

    def post_lines(self, path: str, body: bytes, params: Params) -> Any:
        """Send NDJSON; return the decoded JSON of the answer."""
        headers = {"content-type": "application/x-ndjson"}
        return self._request("POST", path, params=params, content=body, headers=headers)

    def _request(self, method: str, path: str, **options: Any) -> Any:
        with self._transport_errors():
            response = self._client.request(method, path, **options)
        if response.is_error:
            raise CommandError.of_answer(response)
        return self._document(response, known=response.is_success)

    def _document(self, response: httpx.Response, *, known: bool = True) -> dict[str, Any]:
        """Return the JSON object of an answer, which a daemon of ours always gives."""
        try:
            answer = orjson.loads(response.content) if known else None
        except orjson.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict):
            raise self.foreign(f"{response.status_code} without a document of ours")
        return answer

    def foreign(self, answered: str) -> CommandError:
        """Return the failure that an answer means which no daemon of ours gives."""
        return CommandError(
            "That is not chronicled",
            f"{self.place} answered {answered}",
            hint="Check the address; redirects are not followed.",
        )

    def events(
        self, path: str, params: Params | None = None, *, last_id: str = ""
    ) -> Iterator[ServerSentEvent]:
        """Yield the server-sent events of a stream, until the daemon ends it."""
        headers = {"accept": "text/event-stream"} | ({"last-event-id": last_id} if last_id else {})
        # The daemon sends comments while nothing happens; silence for a minute means it is gone.
        with (
            self._transport_errors(),
            self._client.stream("GET", path, params=params, headers=headers) as response,
        ):
            if response.is_error:
                response.read()
                raise CommandError.of_answer(response)
            yield from _parse_events(response.iter_lines())

    @contextmanager
    def _transport_errors(self) -> Iterator[None]:
        try:
            yield
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise UnreachableError(
                "The daemon does not answer",
                f"{self.place}: {error or type(error).__name__}",
                hint="Check that it runs and that the address is right.",
            ) from error
        except UnicodeEncodeError as error:
            raise CommandError("Not text", f"{error.object!r} is not UTF-8") from error


def _pause(seconds: float) -> None:
    time.sleep(seconds)


def _parse_events(lines: Iterator[str]) -> Iterator[ServerSentEvent]:
    fields: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
        elif fields:
            if "data" in fields:
                yield ServerSentEvent(
                    id=fields.get("id", [""])[-1],
                    event=fields.get("event", ["message"])[-1],
                    data="\n".join(fields["data"]),
                )
            fields = {}


@dataclass(frozen=True, slots=True)
class Target:
    """Which daemon or data directory a command is about."""

    data: Path
    url: str | None = None
    socket: Path | None = None

    def __str__(self) -> str:
        if self.url and not self.socket:
            return shown_url(self.url)
        return str(self.socket or f"the data directory {self.data}")

    def connect(self, *, wait_seconds: float = START_WAIT_SECONDS) -> Connection | None:
        """Return a connection to the daemon; None when none runs on the data directory.

        A daemon that has just started is given time to open its sockets, and one that has just
        ended to let the directory go: its children hold it until they have seen that it is gone.

        Raises:
            DirectoryLocked: something holds the directory, and takes no requests.

        """
        if self.socket:
            return Connection(socket=str(self.socket))
        if self.url:
            return Connection(url=self.url)
        deadline = time.monotonic() + wait_seconds
        while running := find_daemon(self.data):
            if way := _way_to(running):
                if way.is_open():
                    return way
                way.close()
            if time.monotonic() >= deadline:
                raise DirectoryLocked(f"{self.data} is held by {running}, which takes no requests")
            time.sleep(0.05)
        return None

    def wait(self) -> Connection:
        """Wait until a daemon answers, however long that takes; return a connection to it."""
        while True:
            time.sleep(RETRY_SECONDS)
            with suppress(UnreachableError, DirectoryLocked), ExitStack() as stack:
                if connection := self.connect():
                    stack.callback(connection.close)
                    connection.get("/healthz")
                    stack.pop_all()
                    return connection


def _way_to(running: Running) -> Connection | None:
    """Return the best way to a daemon: its Unix socket where we may use it, else TCP."""
    if running.socket and os.access(running.socket, os.R_OK | os.W_OK):
        return Connection(socket=running.socket)
    return Connection(url=running.url) if running.url else None


def job_path(job: str) -> str:
    """Return the path of a job; its id may hold any character."""
    return f"/api/jobs/{quote(job, safe='', errors='surrogateescape')}"


def archive_path(job: str) -> str:
    """Return the path of a job in the archive."""
    return f"/api/archive/{quote(job, safe='', errors='surrogateescape')}"


def queue_path(queue: str) -> str:
    """Return the path of a queue."""
    return f"/api/queues/{quote(queue, safe='', errors='surrogateescape')}"


def alert_path(alert: str) -> str:
    """Return the path of an alert; its id may hold any character."""
    return f"/api/alerts/{quote(alert, safe='', errors='surrogateescape')}"
