"""``chronicled demo``: a daemon of its own, fed with a day of samples, and what it then knows."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from daemon.cli import alerts, deadletters, jobs
from daemon.cli.connection import Connection, Target, UnreachableError, job_path
from daemon.cli.failures import CommandError
from daemon.cli.listing import read_list, show_list
from daemon.cli.output import Column, print_line
from daemon.cli.session import Session
from daemon.cli.summary import show_summary
from daemon.demo.samples import SAMPLES
from daemon.lock import LOG_FILE, find_daemon
from domain.errors import DirectoryLocked

HOST: Final = "127.0.0.1"
PORT: Final = 8321
"""The port of the demo where it is free; else the system chooses one."""

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 30.0
CAUGHT_UP_SECONDS: Final = 30.0

FAILING: Final = ("failed", "lost", "interrupted")

_COMMAND: Final = (sys.executable, "-m", "daemon")


def demo(
    once: Annotated[bool, typer.Option("--once", help="End after showing, not at Ctrl-C.")] = False,
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="Where it works; made afresh.")
    ] = Path(".demo"),
) -> None:
    """Start a daemon, feed it a day of sample files, and show what it knows then."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    _make_afresh(data)
    with _daemon(data) as process:
        target = Target(data / "data")
        with Session(target) as session:
            connection = session.connect()
            if connection is None:
                raise CommandError("The demo's daemon went away", str(data / "daemon.log"))
            _feed(data / "data")
            _show(session, connection)
            running = find_daemon(target.data)
            print_line(f"\nThe daemon answers at {running and running.url}/docs")
        if not once:
            print_line("Ctrl-C ends it.")
            with suppress(KeyboardInterrupt):
                process.wait()


def _end(number: int, _frame: object) -> None:
    """End by an exception, so that the daemon is ended too."""
    raise SystemExit(128 + number)


def _make_afresh(directory: Path) -> None:
    """Make an empty directory; one that is not an earlier demo's is left alone."""
    if running := find_daemon(directory / "data"):
        raise DirectoryLocked(f"the demo in {directory} is still running: {running}")
    if directory.exists() and any(directory.iterdir()):
        if not (directory / "data" / LOG_FILE).exists():
            raise typer.BadParameter(
                f"{directory} holds something else than a demo", param_hint="--data"
            )
        shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)


@contextmanager
def _daemon(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a daemon until the block is left."""
    log = directory / "daemon.log"
    command = [*_COMMAND, "serve", "--data", str(directory / "data"), "--listen", _free_address()]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        _wait_until_ready(process, Target(directory / "data"), log)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_address() -> str:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, PORT))
        except OSError:
            return f"{HOST}:0"
    return f"{HOST}:{PORT}"


def _wait_until_ready(process: subprocess.Popen[bytes], target: Target, log: Path) -> None:
    for _ in range(int(START_SECONDS / 0.05)):
        with suppress(DirectoryLocked, UnreachableError):
            if connection := target.connect(wait_seconds=0):
                with connection:
                    connection.get("/healthz")
                return
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
            break
    text = log.read_text(errors="replace").strip()
    raise CommandError("The demo's daemon did not start", text[-2000:] or f"see {log}")


def _feed(data: Path) -> None:
    """Feed the sample files, in their formats, by the command that everyone uses."""
    for format_, samples in groupby(SAMPLES, key=lambda sample: sample.format):
        files = [str(sample.path) for sample in samples]
        names = " ".join(Path(file).name for file in files)
        _say(f"append --format {format_} {names}")
        command = [*_COMMAND, "append", "--data", str(data), "--format", format_, *files]
        if code := subprocess.run(command, check=False).returncode:  # noqa: S603 - our own
            raise CommandError("The samples could not be appended", f"exit code {code}")


def _show(session: Session, connection: Connection) -> None:
    head = connection.get("/api/events", {"limit": 1})["as_of"]
    reached: dict[str, Any] = {"wait_for": head, "timeout": CAUGHT_UP_SECONDS}
    _say("summary")
    show_summary(session, connection.get("/api/summary", reached))

    _say("jobs list " + " ".join(f"--status {status}" for status in FAILING))
    failing = read_list(connection, "/api/jobs", {"status": FAILING, **reached}, limit=50)
    show_list(session, failing, jobs.LIST_COLUMNS)

    most_tried = max(failing["items"], key=lambda job: job["attempt"])["id"]
    _say(f"jobs history --all-attempts '{most_tried}'")
    params = {"attempts": "all", **reached}
    history = read_list(connection, f"{job_path(most_tried)}/history", params, limit=1000)
    show_list(session, history, jobs.HISTORY_COLUMNS)

    _say("alerts list --state open")
    shown = read_list(connection, "/api/alerts", {"state": "open", **reached}, limit=50)
    show_list(session, shown, alerts.LIST_COLUMNS)

    _say("deadletters list")
    letters = read_list(connection, "/api/deadletters", {}, limit=50)
    columns: list[Column] = list(deadletters.LIST_COLUMNS)
    show_list(session, letters, columns)


def _say(command: str) -> None:
    print_line(f"\n$ chronicled {command}")
    sys.stdout.flush()
