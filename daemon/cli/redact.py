"""``chronicled redact``: taking a value out of a recorded event."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from daemon.cli.failures import CommandError
from daemon.cli.listing import given
from daemon.cli.operation import operate
from daemon.cli.output import plain, print_json, print_line
from daemon.cli.progress import progress_shown
from daemon.cli.session import Session, user, with_session


@with_session
def redact(
    session: Session,
    event: Annotated[
        str, typer.Argument(metavar="EVENT", help="Its position; or its id, with --source.")
    ],
    pointer: Annotated[
        str,
        typer.Option("--pointer", help="What is taken out: a JSON pointer, /data/params/token."),
    ],
    why: Annotated[str, typer.Option("--why", help="Why; it is recorded.")],
    source: Annotated[
        str | None, typer.Option("--source", help="The source of the event, where EVENT is its id.")
    ] = None,
    by: Annotated[str | None, typer.Option("--by", help="Who does it; else the user.")] = None,
) -> None:
    """Take a value out of an event, and out of everything that was made of it.

    The event keeps its place, and the log still verifies. It cannot be undone.
    """
    if source is None and not (event.isascii() and event.isdigit()):
        raise CommandError(f"{event[:80]!r} is no position", "an id needs its --source")
    named = {"position": int(event)} if source is None else {"source": source, "id": event}
    asked = {"kind": "redact", **named, **given(pointer=pointer, why=why, by=by or user())}
    daemon = session.daemon("chronicled redact")
    with progress_shown("redact") as on_progress:
        result = operate(daemon, asked, on_progress)
    if session.as_json:
        print_json(result)
    else:
        _print_done(result)


def _print_done(result: dict[str, Any]) -> None:
    place = f"event {result['position']}: {plain(result['pointer'])}"
    if not result["changed"]:
        print_line(f"{place} was redacted before; nothing is done")
    else:
        print_line(f"{place} is redacted; event {result['event']} says so")
    if result["dead_letters"]:
        letters = ", ".join(map(str, result["dead_letters"]))
        print_line(f"dead letters that hold the same text: {letters}")
    backup = result["backup"]
    if backup and backup["error"]:
        print_line(f"the backup still has it: {plain(backup['error'])}")
    elif backup:
        print_line("a new snapshot is taken; what the older ones hold goes in time: "
                   "chronicled backup status")  # fmt: skip
