"""``chronicled deadletters``: input that could not become events, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from daemon.cli.connection import Reader
from daemon.cli.failures import CommandError
from daemon.cli.listing import PAGE_MAX, CursorOption, LimitOption, given, read_list, show_list
from daemon.cli.output import column, print_fields, print_json, print_line, visible
from daemon.cli.session import Session, with_session

app = typer.Typer(
    help="Dead letters: input that could not be decoded; retry or discard it.",
    no_args_is_help=True,
)

PATH: Final = "/api/deadletters"

LIST_COLUMNS = (
    column("id", right=True, whole=True),
    column("state", state=True, whole=True),
    column("last seen", "last_seen", whole=True),
    column("count", right=True),
    column("format", whole=True),
    column("reason", whole=True),
    column("detail"),
    column("origin"),
    column("raw"),
)

LetterArgument = Annotated[int, typer.Argument(metavar="ID", min=1, help="The id of the letter.")]
LettersArgument = Annotated[
    list[int] | None, typer.Argument(metavar="[ID]...", help="The ids of the letters.")
]
AllOption = Annotated[bool, typer.Option("--all", help="Every letter that is open.")]
FormatOption = Annotated[
    str | None, typer.Option("--format", help="Only those that came as this format.")
]
ByOption = Annotated[str | None, typer.Option("--by", help="Who does it.")]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Why.")]


@app.command("list")
@with_session
def list_dead_letters(
    session: Session,
    format: FormatOption = None,  # noqa: A002 - the option's name
    origin: Annotated[
        str | None, typer.Option("--origin", help="The file, pipe or source it came by.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", help="The error code it was refused with.")
    ] = None,
    state: Annotated[
        str | None, typer.Option("--state", help="open, retried or discarded.")
    ] = None,
    limit: LimitOption = 50,
    cursor: CursorOption = None,
) -> None:
    """List dead letters, the oldest first; secrets in them are masked."""
    params = given(format=format, origin=origin, reason=reason, state=state)
    answer = read_list(session.reader(), PATH, params, limit=limit, cursor=cursor)
    show_list(session, answer, LIST_COLUMNS)


@app.command("show")
@with_session
def show(session: Session, letter: LetterArgument) -> None:
    """Show one dead letter with every byte that is kept of it."""
    answer = session.reader().get(f"{PATH}/{letter}")
    if session.as_json:
        print_json(answer)
        return
    print_fields({name: answer[name] for name in answer if name not in ("raw", "as_of")})
    print_line(visible(answer["raw"]))


@app.command("retry")
@with_session
def retry(
    session: Session,
    letters: LettersArgument = None,
    every: AllOption = False,
    format: FormatOption = None,  # noqa: A002 - the option's name
    read_as: Annotated[
        str | None, typer.Option("--as", metavar="FORMAT", help="Read it as this format instead.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", help="Read this file instead of what is kept (one letter)."),
    ] = None,
    by: ByOption = None,
    reason: ReasonOption = None,
) -> None:
    """Decode dead letters again, and append their events."""
    if file is not None and (every or len(letters or ()) != 1):
        raise typer.BadParameter("is for one letter", param_hint="--file")
    body = None if file is None else _read(file)
    said = given(by=by, reason=reason, format=read_as, body=body)
    _decide(session, "retry", _chosen(letters, every, format), said)


@app.command("discard")
@with_session
def discard(
    session: Session,
    letters: LettersArgument = None,
    every: AllOption = False,
    format: FormatOption = None,  # noqa: A002 - the option's name
    by: ByOption = None,
    reason: ReasonOption = None,
) -> None:
    """Say that dead letters are of no use."""
    _decide(session, "discard", _chosen(letters, every, format), given(by=by, reason=reason))


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise typer.BadParameter("is not UTF-8", param_hint="--file") from None


Chosen = list[int] | dict[str, Any]
"""Some letters by their ids, or the filters of a list."""


def _chosen(letters: list[int] | None, every: bool, format_name: str | None) -> Chosen:
    if bool(letters) == every:
        raise typer.BadParameter("give ids, or --all", param_hint="ID")
    if letters:
        if format_name is not None:
            raise typer.BadParameter("goes with --all", param_hint="--format")
        return letters
    return given(format=format_name, state="open")


def _decide(session: Session, verb: str, chosen: Chosen, said: dict[str, Any]) -> None:
    """Decide about each letter; one that cannot be is told, and in nobody's way."""
    daemon = session.daemon(f"chronicled deadletters {verb}")
    done, failed = f"{verb.removesuffix('y')}{'ied' if verb == 'retry' else 'ed'}", 0
    for letter in chosen if isinstance(chosen, list) else _every(daemon, chosen):
        try:
            answer = daemon.post(f"{PATH}/{letter}/{verb}", said)
        except CommandError as error:
            if error.status in (0, 403) or error.status >= 500:
                raise
            failed += 1
            document = {"id": letter, "state": "open", "code": error.code, "detail": error.detail}
        else:
            document = {"id": letter, "state": done, "events": len(answer["events"]) - 1}
        if session.as_json:
            print_json(document)
        elif "code" in document:
            print_line(f"{letter}: not {done}: {visible(str(document['detail']))}")
        else:
            events = f", events {document['events']}" if verb == "retry" else ""
            print_line(f"{letter}: {done}{events}")
    if failed:
        raise typer.Exit(1)


def _every(reader: Reader, params: dict[str, Any]) -> Iterator[int]:
    """Yield the ids of the letters that fit, page after page; what is decided leaves the list."""
    last = 0
    while True:
        page = read_list(reader, PATH, params, limit=PAGE_MAX)
        ids = [item["id"] for item in page["items"] if item["id"] > last]
        yield from ids
        if not ids:
            return
        last = ids[-1]
