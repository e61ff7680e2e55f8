"""Who may ask: Host and Origin over real connections, and what counts as our name."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from api_server import ApiServer, event

from daemon.api.guard import Guard, by_socket
from domain.errors import Forbidden


@pytest.mark.parametrize(
    ("host", "names", "allowed"),
    [
        ("localhost", (), True),
        ("LOCALHOST:8321", (), True),
        ("localhost.:8321", (), True),
        ("127.0.0.1:8321", (), True),
        ("127.8.9.1", (), True),
        ("[::1]:8321", (), True),
        ("evil.example", (), False),
        ("localhost.evil.example", (), False),
        ("127.0.0.1.evil.example", (), False),
        ("10.1.2.3", (), False),
        ("", (), False),
        ("localhost:8321@evil.example", (), False),
        ("localhost/", (), False),
        ("[::1", (), False),
        ("jobs.lan:8321", ("jobs.lan",), True),
        ("other.lan", ("jobs.lan",), False),
        ("10.1.2.3:8321", ("10.1.2.3",), True),
        ("10.1.2.3:8321", ("0.0.0.0",), True),
        ("[fe80::1]", ("::",), True),
        ("evil.example", ("0.0.0.0",), False),
    ],
)
def test_a_host_is_ours_or_refused(host: str, names: tuple[str, ...], allowed: bool) -> None:
    """Loopback names and the configured one; where all addresses are listened on, any address."""
    scope: dict[str, Any] = {
        "headers": [(b"host", host.encode())],
        "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", 8321),
    }
    if allowed:
        Guard(names).check(scope)
    else:
        with pytest.raises(Forbidden):
            Guard(names).check(scope)


def test_a_peer_that_is_gone_is_not_taken_for_the_socket() -> None:
    """Over TCP the peer's address may be unknown; that does not make it the Unix socket."""
    assert by_socket({"client": None, "server": ("/run/http", None)})
    assert not by_socket({"client": None, "server": ("127.0.0.1", 8321)})
    assert not by_socket({"client": None, "server": None})


def test_a_rebound_name_gets_nothing(client: httpx.Client) -> None:
    """A foreign Host is 403, for reads and for writes; nothing is recorded."""
    headers = {"host": "rebound.example:80"}
    for path in ("/api/events", "/healthz", "/metrics", "/docs"):
        response = client.get(path, headers=headers)
        assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    response = client.post("/api/events", json=event("job.submitted", "a"), headers=headers)
    assert response.status_code == 403
    assert client.get("/api/events").json()["as_of"] == 0


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:1", "file://", "localhost"]
)
def test_a_foreign_page_cannot_post(client: httpx.Client, origin: str) -> None:
    """A request that a page of another origin makes the browser send is 403, without CORS."""
    response = client.post(
        "/api/events", json=event("job.submitted", "a"), headers={"origin": origin}
    )
    assert response.status_code == 403
    assert not [name for name in response.headers if name.startswith("access-control")]
    assert client.get("/api/events").json()["as_of"] == 0


def test_our_own_pages_may_post(server: ApiServer, client: httpx.Client) -> None:
    """An Origin that is the Host itself is let through."""
    response = client.post(
        "/api/events", json=event("job.submitted", "a"), headers={"origin": server.url}
    )
    assert response.status_code == 201


def test_the_unix_socket_takes_any_host_but_no_foreign_origin(server: ApiServer) -> None:
    """No browser reaches the socket by itself; a proxy in front of it passes the Origin on."""
    with server.client(unix=True) as client:
        assert client.get("/healthz", headers={"host": "anything"}).status_code == 200
        headers = {"host": "jobs.example", "origin": "https://jobs.example"}
        assert client.get("/healthz", headers=headers).status_code == 200
        headers = {"host": "jobs.example", "origin": "https://evil.example"}
        assert client.get("/healthz", headers=headers).status_code == 403


def test_a_request_without_a_host_is_refused(server: ApiServer) -> None:
    """HTTP/1.0 without Host, and two Hosts, are 403."""
    assert b" 403 " in server.raw(b"GET /healthz HTTP/1.0\r\n\r\n")
    twice = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert b" 403 " in server.raw(twice)
