"""Lists: reading page after page, and printing them one way for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

from daemon.cli.connection import Params, Reader
from daemon.cli.failures import CommandError
from daemon.cli.output import Column, notice, on_terminal, print_json, print_list
from daemon.cli.session import Session
from domain.errors import BeingReplayed

REPLAY_SECONDS: Final = 5
"""How long one question waits for a replay; then it is said how far that is."""
PAGE_MAX: Final = 1000
"""The most items the daemon gives at once."""

LimitOption = Annotated[int, typer.Option("--limit", min=1, help="Most items to show.")]
CursorOption = Annotated[
    str | None,
    typer.Option("--cursor", help="Go on where another list of the same filters ended."),
]
SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Not before this time (RFC 3339).")
]
UntilOption = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Not after this time (RFC 3339).")
]
AsOfOption = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="POSITION|TIME",
        help="As the log knew it then: a position, an RFC 3339 time, a date, or -2h.",
    ),
]


def given(**params: Any) -> dict[str, Any]:
    """Return the query parameters that were given."""
    return {name: value for name, value in params.items() if value not in (None, "", [])}


def ask(reader: Reader, path: str, params: Params) -> Any:
    """Return an answer; one of the past is waited for, however long its replay takes."""
    if "as_of" not in params:
        return reader.get(path, params)
    while True:
        try:
            return reader.get(path, {"timeout": REPLAY_SECONDS, **params})
        except CommandError as failure:
            if failure.code != BeingReplayed.code:
                raise
            notice(failure.detail)


def read_list(
    reader: Reader, path: str, params: Params, *, limit: int, cursor: str | None = None
) -> dict[str, Any]:
    """Return up to ``limit`` items as one answer, however many pages they come in."""
    items: list[Any] = []
    while True:
        page = ask(
            reader,
            path,
            {**params, **given(limit=min(limit - len(items), PAGE_MAX), cursor=cursor)},
        )
        items += page["items"]
        cursor = page["next"]
        if not cursor or len(items) >= limit:
            return {**page, "items": items}


def show_list(session: Session, answer: dict[str, Any], columns: Sequence[Column]) -> None:
    """Print a list answer: the document for machines, a table or lines for people."""
    if session.as_json:
        print_json(answer)
        return
    print_list(columns, answer["items"])
    if on_terminal():
        count = len(answer["items"])
        more = f"; more with --cursor {answer['next']}" if answer["next"] else ""
        notice(f"{count} shown, as of position {answer['as_of']}, times in UTC{more}")
