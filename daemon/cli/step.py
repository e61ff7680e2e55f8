"""``chronicled replay step``: forwards and backwards through the events of one stream."""

from __future__ import annotations

import os
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from select import select
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from daemon.cli.connection import Reader
from daemon.cli.listing import given
from daemon.cli.output import STATUS_STYLES, on_terminal, plain, print_json_lines, short
from daemon.cli.session import Session, with_session
from daemon.cli.story import EntityArgument, stream_of

_NEXT: Final = frozenset({"\n", "\r", "n", " ", "\x1b[C", "\x1bOC"})
_BACK: Final = frozenset({"b", "p", "\x1b[D", "\x1bOD"})
_QUIT: Final = frozenset({"q", "\x03", "\x04", ""})
_HELP: Final = "Enter, n, right: next   b, p, left: back   g N: go to N   q: quit"
_DIGITS_MAX: Final = 12
_ESCAPE_SECONDS: Final = 0.1
"""The rest of an arrow's sequence follows its escape at once; alone it is the Escape key."""


@with_session
def step(session: Session, entity: EntityArgument) -> None:
    """Go through the events of a stream: what each of them changed, and the state after it.

    Without a terminal, or with --json, every step is printed.
    """
    stream = stream_of(entity)
    reader = session.reader()
    if session.as_json:
        for page in _pages(reader, stream):
            print_json_lines(page)
    elif on_terminal() and sys.stdin.isatty():
        _walk(reader, stream)
    else:
        for page in _pages(reader, stream):
            for each in page:
                _print_lines(each)


def _pages(reader: Reader, stream: str) -> Iterator[list[dict[str, Any]]]:
    """Yield all steps, a page at a time."""
    cursor: str | None = None
    while True:
        page = reader.get("/api/steps", given(stream=stream, cursor=cursor))
        yield page["items"]
        cursor = page["next"]
        if cursor is None:
            return


def _print_lines(item: dict[str, Any]) -> None:
    """Print a line for each field that a step changed, or one that says that it changed none."""
    event = item["event"]
    start = [event["version"], event["time"], event["type"]]
    changes = [[change["field"], change["from"], change["to"]] for change in item["changes"]]
    for change in changes or [[_nothing(item), None, None]]:
        print("\t".join(plain(value) for value in (*start, *change)))


def _nothing(item: dict[str, Any]) -> str:
    return "changed nothing: late" if item["late"] else "changed nothing"


def _walk(reader: Reader, stream: str) -> None:
    """Show one step after another, as the keys say."""
    console = Console(highlight=False, emoji=False)
    item = _find(reader, stream, 1)
    if item is None:
        return
    with _keys() as keys:
        _show(console, item)
        console.print(_HELP, style="dim")
        for key in keys:
            version = item["event"]["version"]
            wanted = _wanted(key, version)
            if wanted is None:
                return
            if wanted == version:
                continue
            found = _find(reader, stream, wanted) if wanted > 0 else None
            if found is None:
                where = "before the first" if wanted < version else "after the last"
                console.print(f"There is no event {wanted}: it is {where}.", style="dim")
                continue
            item = found
            _show(console, item)


def _wanted(key: str, version: int) -> int | None:
    """Return the step that a key leads to, the same for one that means nothing; None = quit."""
    if key in _QUIT:
        return None
    if key in _NEXT:
        return version + 1
    if key in _BACK:
        return version - 1
    if key.startswith("g") and key[1:].isdecimal():
        return int(key[1:])
    return version


def _find(reader: Reader, stream: str, version: int) -> dict[str, Any] | None:
    """Return the step of a version; the first that is kept, where those before it are not."""
    params = {"stream": stream, "after": version - 1, "limit": 1}
    items: list[dict[str, Any]] = reader.get("/api/steps", params)["items"]
    return items[0] if items else None


def _show(console: Console, item: dict[str, Any]) -> None:
    """Print a step: the event, what it changed, and the state with what changed in it marked."""
    event = item["event"]
    console.rule(Text(f"{event['version']}  {plain(event['type'])}", style="bold"), align="left")
    told = f"{short(event['time'])}  position {event['position']}  by {plain(event['source'])}"
    console.print(Text(told + ("  late" if item["late"] else "")))
    for change in item["changes"]:
        line = Text(f"  {plain(change['field'])}  ")
        line.append(short(change["from"]), style="dim")
        line.append(" -> ").append_text(_value(change["to"]))
        console.print(line, soft_wrap=True)
    if not item["changes"]:
        console.print(Text(f"  {_nothing(item)}", style="yellow"))
    console.print()
    changed = {change["field"].split("/")[1] for change in item["changes"]}
    for name, value in item["state"].items():
        if value in (None, [], {}, False) and name not in changed:
            continue
        mark = "*" if name in changed else " "
        line = Text(f"{mark} {name:<16}", style="bold" if name in changed else "")
        console.print(line.append_text(_value(value)), soft_wrap=True)


def _value(value: Any) -> Text:
    return Text(short(value), style=STATUS_STYLES.get(str(value), ""))


@contextmanager
def _keys() -> Iterator[Iterator[str]]:
    """Lend the keys that are pressed on the terminal, which is as it was afterwards."""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    try:
        # With TCSANOW nothing that was typed already is thrown away.
        tty.setcbreak(terminal, termios.TCSANOW)
        yield _read_keys(terminal)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _read_keys(terminal: int) -> Iterator[str]:
    """Yield each key; an arrow as its sequence, and "g 12" as "g12" when Enter ends it."""
    while True:
        key = os.read(terminal, 1).decode(errors="replace")
        if key == "\x1b" and select([terminal], [], [], _ESCAPE_SECONDS)[0]:
            key += os.read(terminal, 2).decode(errors="replace")
        elif key == "g":
            key = _read_number(terminal)
        yield key


def _read_number(terminal: int) -> str:
    """Return "g" and the digits up to Enter, showing what is typed."""
    digits = ""
    os.write(sys.stdout.fileno(), b"go to: ")
    while (key := os.read(terminal, 1)) not in (b"\n", b"\r", b""):
        if key.isdigit() and len(digits) < _DIGITS_MAX:
            digits += key.decode()
            os.write(sys.stdout.fileno(), key)
    os.write(sys.stdout.fileno(), b"\n")
    return f"g{digits}"
