"""What happens on one connection: pipelining, slow and chunked bodies, and who closes when."""

from __future__ import annotations

import gc
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
from api_server import ApiServer, event
from waiting import wait_until

from daemon.protocol import Protocol

HEAD = (
    b"POST /api/events HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/cloudevents+json\r\n"
)


def post(body: bytes, *headers: bytes) -> bytes:
    """Return a request that posts one event."""
    more = b"".join(header + b"\r\n" for header in headers)
    return HEAD + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


def body_of(id_: str) -> bytes:
    """Return an event with this id as JSON."""
    return json.dumps(event("job.submitted", id_, id=id_)).encode()


def answers_in(data: bytes) -> list[tuple[bytes, Any]]:
    """Return head and document of each answer in what came over a connection."""
    found = []
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        _, _, after = head.lower().partition(b"content-length: ")
        length = int(after.partition(b"\r\n")[0])
        found.append((head, json.loads(rest[:length])))
        data = rest[length:]
    return found


def kept() -> list[Protocol]:
    """Return the connections that are in memory."""
    return [each for each in gc.get_objects() if isinstance(each, Protocol)]


def test_pipelined_requests_are_answered_in_their_order(server: ApiServer) -> None:
    """Several requests sent at once, good and bad, each get their own answer, in order."""
    sent = post(body_of("one")) + post(b"no JSON") + b"GET /healthz HTTP/1.1\r\nHost: [::1]\r\n\r\n"
    found = answers_in(server.raw(sent + post(body_of("two"), b"Connection: close")))
    assert [head.split()[1] for head, _ in found] == [b"201", b"400", b"200", b"201"]
    assert [found[at][1]["events"][0]["id"] for at in (0, 3)] == ["one", "two"]


@pytest.mark.parametrize("header", [b"Connection: close", b"Connection: Close, TE"])
def test_a_client_that_asks_for_it_is_closed_after_its_answer(
    server: ApiServer, header: bytes
) -> None:
    """The answer says that the connection closes, and it does."""
    [(head, document)] = answers_in(server.raw(post(body_of("one"), header)))
    assert b"connection: close" in head.lower()
    assert document["as_of"] == 1


def test_the_older_protocol_is_answered_and_closed(server: ApiServer) -> None:
    """HTTP/1.0 has one request a connection."""
    request = post(body_of("one")).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    [(head, _)] = answers_in(server.raw(request))
    assert b" 201 " in head


def test_a_body_may_come_byte_by_byte_or_in_chunks(server: ApiServer) -> None:
    """However a body is cut, the event in it is recorded, and the connection goes on."""
    body = body_of("one")
    with socket.create_connection(server.address, timeout=20) as connection:
        for byte in post(body):
            connection.send(bytes([byte]))
        assert b" 201 " in connection.recv(65536)
        chunked = b"%x\r\n%b\r\n1\r\n}\r\n0\r\n\r\n" % (len(body) - 1, body[:-1])
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked)
        again = connection.recv(65536)
    assert b" 200 " in again
    assert b'"duplicate":true' in again


def test_a_client_may_ask_before_it_sends_the_body(server: ApiServer) -> None:
    """Expect: 100-continue is answered before the body; then the body is read as ever."""
    body = body_of("one")
    request = post(body, b"Expect: 100-continue")
    with socket.create_connection(server.address, timeout=20) as connection:
        connection.sendall(request.removesuffix(body))
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert b" 201 " in connection.recv(65536)


def test_a_client_that_left_before_the_commit_harms_nobody(
    servers: Callable[..., ApiServer],
) -> None:
    """Its event is recorded all the same; the others are answered."""
    server = servers(writing=False)
    with socket.create_connection(server.address, timeout=20) as stays:
        with socket.create_connection(server.address, timeout=20) as leaves:
            leaves.sendall(post(body_of("one")))
            wait_until(lambda: server.log.writer.queued_events == 1, "the first one waits")
        stays.sendall(post(body_of("two")))
        wait_until(lambda: server.log.writer.queued_events == 2, "both wait")
        server.log.start()
        [(head, document)] = answers_in(stays.recv(65536))
    assert b" 201 " in head
    assert document["events"][0]["position"] == 2


def test_a_connection_that_ended_leaves_nothing_to_be_collected(server: ApiServer) -> None:
    """Garbage is collected rarely: a thousand connections in it are as many buffers."""
    health = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    gc.collect()
    before = kept()
    gc.disable()
    try:
        server.raw(post(body_of("one"), b"Connection: close"))
        server.raw(health)
        server.raw(post(b"no JSON", b"Connection: close"))
        for begun in (b"", b"POST /api", post(body_of("two"))[:-5]):
            with socket.create_connection(server.address, timeout=20) as connection:
                connection.sendall(begun)
        server.raw(health)
        others = {id(each) for each in before}
        wait_until(
            lambda: not [each for each in kept() if id(each) not in others],
            "the connections are gone",
        )
    finally:
        gc.enable()
