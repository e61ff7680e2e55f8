"""What every command has in common: its options, and the daemon or directory they lead to."""

from __future__ import annotations

import functools
import getpass
import inspect
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, Self

import typer

from daemon.cli.connection import Connection, Reader, Target
from daemon.cli.failures import needs_daemon
from daemon.cli.output import notice

P = ParamSpec("P")

DataOption = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="DIR",
        envvar="STATE_DIRECTORY",
        help="The data directory; the daemon that runs on it is found by its lock file.",
    ),
]
UrlOption = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="The URL of a running daemon.")
]
SocketOption = Annotated[
    Path | None,
    typer.Option("--socket", metavar="PATH", help="The Unix socket of a running daemon."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def user() -> str:
    """Return the name of the user: who does what the command does, unless it is said."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def data_directory(text: str) -> Path:
    """Return the data directory of an option or of ``$STATE_DIRECTORY`` (the first of a list)."""
    return Path(text.partition(":")[0] if text.startswith("/") else text)


class Session:
    """One run of a command: where it reads from, and how it prints."""

    def __init__(self, target: Target, *, as_json: bool = False) -> None:
        self.target = target
        self.as_json = as_json
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def connect(self) -> Connection | None:
        """Return a connection to the daemon, closed with the session; None when none runs."""
        connection = self.target.connect()
        return self._stack.enter_context(connection) if connection else None

    def daemon(self, command: str) -> Connection:
        """Return a connection to the daemon that ``command`` cannot do without."""
        if connection := self.connect():
            return connection
        raise needs_daemon(
            command,
            str(self.target),
            hint="Start it (`chronicled serve`), or name it by --data, --socket or --url.",
        )

    def wait_for_daemon(self) -> Connection:
        """Wait until the daemon can be reached again; return a new connection to it."""
        return self._stack.enter_context(self.target.wait())

    def reader(self) -> Reader:
        """Return the daemon; where none runs, the data directory itself, read-only."""
        if connection := self.connect():
            return connection
        # Imported here: most commands talk to a daemon and start faster without the log's code.
        from daemon.cli.directory import DirectoryReader

        reader = self._stack.enter_context(DirectoryReader(self.target.data))
        notice(f"No daemon runs on {self.target}; reading the files themselves.")
        return reader


def _common(
    *,
    data: DataOption = "data",
    url: UrlOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> Session:
    target = Target(data_directory(data), url=url, socket=socket)
    return Session(target, as_json=as_json)


_COMMON = inspect.signature(_common, eval_str=True).parameters


def with_session(command: Callable[Concatenate[Session, P], None]) -> Callable[..., None]:
    """Give a command the options that all have, and pass it the session they make.

    The command line library reads options from a signature, so the result has one: the
    command's own parameters without the session, then the common ones.
    """
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

    @functools.wraps(command)
    def run(**options: Any) -> None:
        common = {name: options.pop(name) for name in _COMMON}
        with _common(**common) as session:
            command(session, **options)  # type: ignore[call-arg]

    keyword = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
    signature = inspect.Signature([*keyword, *_COMMON.values()])
    run.__annotations__ = {each.name: each.annotation for each in signature.parameters.values()}
    run.__signature__ = signature  # type: ignore[attr-defined]
    return run
