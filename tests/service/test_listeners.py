"""The sockets that requests arrive on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from daemon.listeners import Listeners, bind
from daemon.settings import Address
from domain.errors import ConfigurationError, Unavailable

ANY = Address("127.0.0.1", 0)


@contextmanager
def bound(
    address: Address, path: Path, inherited: tuple[socket.socket, ...] = ()
) -> Iterator[Listeners]:
    """Bind, and close at the end."""
    listeners = bind(address, path, inherited)
    try:
        yield listeners
    finally:
        listeners.close()


def connects(listeners: Listeners) -> bool:
    """Whether both the URL and the path take a connection."""
    port = int(listeners.url.rpartition(":")[2])
    socket.create_connection(("127.0.0.1", port), timeout=10).close()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(listeners.path))
    return True


def test_both_listen_and_are_named(tmp_path: Path) -> None:
    """Port 0 becomes the port that was given; the Unix socket is for its owner and group."""
    path = tmp_path / "s"
    with bound(ANY, path) as listeners:
        assert not listeners.url.endswith(":0")
        assert path.stat().st_mode & 0o777 == 0o660
        assert connects(listeners)
    assert not path.exists()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_an_ipv6_address_is_named_in_brackets(tmp_path: Path) -> None:
    """The URL of an IPv6 listener can be used as it is."""
    with bound(Address("::1", 0), tmp_path / "s") as listeners:
        assert listeners.url.startswith("http://[::1]:")


def test_a_port_in_use_is_an_error_that_names_it(tmp_path: Path) -> None:
    """Nothing is left behind when the TCP address is taken."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Unavailable, match=f"127.0.0.1:{port}: Address already in use"):
            bind(Address("127.0.0.1", port), tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_host_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    """A name that cannot be resolved is named."""
    with pytest.raises(Unavailable, match=r"no\.such\.host\.invalid:1"):
        bind(Address("no.such.host.invalid", 1), tmp_path / "s")


def test_the_socket_file_of_a_dead_daemon_is_replaced(tmp_path: Path) -> None:
    """A file that nobody listens on any more does not stop a start."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    with bound(ANY, path) as listeners:
        assert connects(listeners)


def test_the_socket_of_a_living_daemon_is_left_alone(tmp_path: Path) -> None:
    """A path on which someone answers is in use, and stays theirs."""
    path = tmp_path / "s"
    with bound(ANY, path) as first:
        with pytest.raises(Unavailable, match="Address already in use"):
            bind(ANY, path)
        assert connects(first)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    """A mistaken path never removes somebody's file."""
    path = tmp_path / "precious"
    path.write_text("kept")
    with pytest.raises(Unavailable, match="no socket"):
        bind(ANY, path)
    assert path.read_text() == "kept"


def test_a_path_that_is_too_long_is_explained(tmp_path: Path) -> None:
    """The kernel's limit is told in words, with the option that helps."""
    with pytest.raises(ConfigurationError, match="longer than 107 bytes") as caught:
        bind(ANY, tmp_path / ("x" * 108))
    assert "--socket" in caught.value.operator_hint
    assert caught.value.exit_code == 2


def test_sockets_that_are_handed_in_stand_in_for_ours(tmp_path: Path) -> None:
    """A Unix socket of the service manager is used, and its file stays; TCP is still bound."""
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    given = socket.socket(socket.AF_UNIX)
    given.bind(str(theirs))
    given.listen()
    with bound(ANY, ours, (given,)) as listeners:
        assert listeners.path == theirs
        assert connects(listeners)
        assert not ours.exists()
    assert theirs.exists()


def test_a_handed_in_tcp_socket_stands_in_for_the_address(tmp_path: Path) -> None:
    """The configured address is not bound when the service manager has a TCP socket."""
    with ExitStack() as stack:
        taken = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        address = Address("127.0.0.1", taken.getsockname()[1])
        given = socket.create_server(("127.0.0.1", 0))
        port = given.getsockname()[1]
        listeners = stack.enter_context(bound(address, tmp_path / "s", (given,)))
        assert listeners.url == f"http://127.0.0.1:{port}"


def test_a_failed_bind_closes_what_was_handed_in(tmp_path: Path) -> None:
    """Nothing stays open after an error."""
    given = socket.create_server(("127.0.0.1", 0))
    with pytest.raises(ConfigurationError):
        bind(ANY, tmp_path / ("x" * 108), (given,))
    assert given.fileno() == -1
