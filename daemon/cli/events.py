"""``chronicled events``: the log itself, as it is and as it grows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import orjson
import typer

from daemon.cli import history
from daemon.cli.connection import UnreachableError
from daemon.cli.listing import (
    CursorOption,
    LimitOption,
    SinceOption,
    UntilOption,
    given,
    read_list,
    show_list,
)
from daemon.cli.output import (
    Column,
    column,
    notice,
    on_terminal,
    plain,
    print_json_lines,
    print_line,
)
from daemon.cli.session import Session, with_session

app = typer.Typer(help="Events: list what is in the log, follow what comes.", no_args_is_help=True)

StreamOption = Annotated[str | None, typer.Option(help="The stream: category/subject.")]
TypeOption = Annotated[
    list[str] | None, typer.Option("--type", help="An event type; may be repeated.")
]
SourceOption = Annotated[str | None, typer.Option(help="The source of the events.")]
CorrelationOption = Annotated[str | None, typer.Option(help="Their correlationid.")]

LIST_COLUMNS = (
    column("position", right=True, whole=True),
    column("time", whole=True),
    column("type", whole=True),
    column("version", right=True),
    column("subject", whole=True),
    Column("data", lambda event: event.get("data") or None),
)


@app.command("list")
@with_session
def list_events(
    session: Session,
    stream: StreamOption = None,
    type_: TypeOption = None,
    source: SourceOption = None,
    correlation: CorrelationOption = None,
    after: Annotated[int | None, typer.Option(help="After this position.")] = None,
    before: Annotated[int | None, typer.Option(help="Before this position.")] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    order: Annotated[str, typer.Option(help="asc or desc, by position.")] = "asc",
    limit: LimitOption = 50,
    cursor: CursorOption = None,
) -> None:
    """List events by position; `--since` and `--until` are about their `time`."""
    params = given(
        stream=stream,
        type=type_,
        source=source,
        correlation=correlation,
        after=after,
        before=before,
        since=since,
        until=until,
        order=order,
    )
    answer = read_list(session.reader(), "/api/events", params, limit=limit, cursor=cursor)
    show_list(session, answer, LIST_COLUMNS)


@app.command("tail")
@with_session
def tail(
    session: Session,
    stream: StreamOption = None,
    type_: TypeOption = None,
    source: SourceOption = None,
    correlation: CorrelationOption = None,
    after: Annotated[
        int | None, typer.Option(help="Start after this position; else with what comes.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many events.")] = None,
) -> None:
    """Follow the log: each event as it is recorded, also across a restart of the daemon."""
    params = given(stream=stream, type=type_, source=source, correlation=correlation)
    for shown, event in enumerate(_follow(session, params, after), 1):
        if session.as_json:
            print_json_lines([event])
        else:
            values = [plain(each.value(event)) for each in LIST_COLUMNS]
            print_line(("  " if on_terminal() else "\t").join(values))
        if shown == limit:
            return


app.command("export")(history.export_events)
app.command("import")(history.import_events)


def _follow(
    session: Session, params: dict[str, Any], after: int | None
) -> Iterator[dict[str, Any]]:
    daemon = session.daemon("chronicled events tail")
    if after is None:
        after = daemon.get("/api/events", {"limit": 1})["as_of"]
    last_id = str(after)
    while True:
        try:
            for message in daemon.events("/api/events/stream", params, last_id=last_id):
                last_id = message.id or last_id
                yield orjson.loads(message.data)
        except UnreachableError as error:
            notice(f"{error.title}; waiting for it.")
        daemon = session.wait_for_daemon()
