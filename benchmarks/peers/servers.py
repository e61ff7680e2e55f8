"""Servers of the peers, each private to the run: in a directory of its own, gone after it."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpx

from benchmarks.children import child, clean_environment, run, wait_for

POSTGRES_USERS = ("postgres", "nobody")
"""PostgreSQL does not run as root; then one of these runs it."""
_QUIET: Final[dict[str, Any]] = {"capture_output": True}


class MissingError(Exception):
    """A peer is not installed."""


def program(name: str, *places: str) -> str:
    """Return the path of a program.

    Raises:
        MissingError: it is not there.

    """
    path = os.pathsep.join([os.environ.get("PATH", ""), *places, "/usr/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        raise MissingError(f"{name} is not installed")
    return found


@contextmanager
def postgres(scratch: Path) -> Iterator[Path]:
    """Run a PostgreSQL cluster with its defaults; yields the directory of its socket."""
    places = [str(place) for place in Path("/usr/lib/postgresql").glob("*/bin")]
    initdb, server = program("initdb", *places), program("postgres", *places)
    directory, prefix = _owned(scratch)
    try:
        data = directory / "data"
        run([*prefix, initdb, "-D", data, "-U", "bench", "-A", "trust", "--no-sync"], **_QUIET)
        command = [*prefix, server, "-D", data, "-k", directory, "-c", "listen_addresses="]
        with child(command, log=scratch / "postgres.log"):
            asked = ["psql", "-h", directory, "-U", "bench", "-d", "postgres", "-c"]

            def answers() -> bool:
                with suppress(RuntimeError):
                    return bool(run([*asked, "SELECT 1"], **_QUIET))
                return False

            wait_for(answers, "PostgreSQL", 0.1)
            yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _owned(scratch: Path) -> tuple[Path, list[str]]:
    """Return a directory for PostgreSQL, and how to run a command as its owner."""
    directory = Path(tempfile.mkdtemp(dir=scratch))
    if os.geteuid() != 0:
        return directory, []
    for user in POSTGRES_USERS:
        with suppress(LookupError):
            shutil.chown(directory, user)
            prefix = [program("setpriv"), "--reuid", user, "--clear-groups"]
            with suppress(RuntimeError):
                run([*prefix, "test", "-w", directory])
                return directory, prefix
            # The way there is closed to others; on the same disk, as far as can be told.
            directory = Path(tempfile.mkdtemp(dir="/var/tmp"))
            shutil.chown(directory, user)
            return directory, prefix
    raise MissingError("there is no user that could run PostgreSQL")


@contextmanager
def redis(scratch: Path) -> Iterator[Path]:
    """Run Redis with an append-only file that is flushed always; yields its socket."""
    place = scratch / "redis.sock"
    command = [program("redis-server"), "--port", "0", "--unixsocket", place, "--dir", scratch]
    command += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
    with child(command, log=scratch / "redis.log"):
        wait_for(place.exists, "Redis", 0.05)
        yield place


@contextmanager
def nats(scratch: Path) -> Iterator[str]:
    """Run NATS with JetStream on files; yields its address."""
    port = free_port()
    command = [program("nats-server"), "-a", "127.0.0.1", "-p", str(port), "-js"]
    with child([*command, "-sd", scratch / "nats"], log=scratch / "nats.log"):
        wait_for(lambda: _listens(port), "NATS", 0.05)
        yield f"nats://127.0.0.1:{port}"


@contextmanager
def prefect(scratch: Path, python: Path) -> Iterator[str]:
    """Run Prefect's server on a SQLite database of its own; yields its address."""
    port = free_port()
    command = [python, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
    environment = clean_environment() | {
        "PREFECT_HOME": str(scratch / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    address = f"http://127.0.0.1:{port}"
    log = scratch / "prefect.log"
    with child([*command, "--port", str(port)], log=log, environment=environment) as process:

        def answers() -> bool:
            if process.poll() is not None:
                raise RuntimeError(log.read_text(errors="replace")[-2000:])
            with suppress(httpx.HTTPError):
                return httpx.get(f"{address}/api/health", timeout=5).status_code == 200
            return False

        wait_for(answers, "Prefect", 0.2)
        yield address


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
