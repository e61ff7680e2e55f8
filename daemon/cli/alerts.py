"""``chronicled alerts``: what is wrong, and saying that somebody deals with it."""

from __future__ import annotations

from typing import Annotated

import typer

from daemon.cli.connection import alert_path
from daemon.cli.listing import (
    AsOfOption,
    CursorOption,
    LimitOption,
    SinceOption,
    UntilOption,
    given,
    read_list,
    show_list,
)
from daemon.cli.output import column, print_json, print_line, visible
from daemon.cli.session import Session, with_session

app = typer.Typer(help="Alerts: list them, acknowledge or resolve one.", no_args_is_help=True)

AlertArgument = Annotated[str, typer.Argument(metavar="ALERT", help="The id of the alert.")]
ByOption = Annotated[str | None, typer.Option("--by", help="Who does it.")]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Why.")]

LIST_COLUMNS = (
    column("last seen", "last_seen", whole=True),
    column("state", state=True, whole=True),
    column("severity", state=True, whole=True),
    column("kind"),
    column("count", right=True),
    column("message"),
    column("id", whole=True),
)


@app.command("list")
@with_session
def list_alerts(
    session: Session,
    state: Annotated[
        list[str] | None, typer.Option(help="open, acknowledged or resolved; may be repeated.")
    ] = None,
    severity: Annotated[
        list[str] | None,
        typer.Option(help="info, warning, error or critical; may be repeated."),
    ] = None,
    kind: Annotated[str | None, typer.Option(help="The kind of alert.")] = None,
    job: Annotated[str | None, typer.Option(help="The job it is about.")] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: LimitOption = 50,
    cursor: CursorOption = None,
    as_of: AsOfOption = None,
) -> None:
    """List alerts, newest first."""
    params = given(
        state=state, severity=severity, kind=kind, job=job, since=since, until=until, as_of=as_of
    )
    answer = read_list(session.reader(), "/api/alerts", params, limit=limit, cursor=cursor)
    show_list(session, answer, LIST_COLUMNS)


@app.command("ack")
@with_session
def acknowledge(
    session: Session, alert: AlertArgument, by: ByOption = None, reason: ReasonOption = None
) -> None:
    """Say that somebody deals with an alert."""
    _decide(session, alert, "acknowledge", by, reason)


@app.command("resolve")
@with_session
def resolve(
    session: Session, alert: AlertArgument, by: ByOption = None, reason: ReasonOption = None
) -> None:
    """Say that an alert is dealt with."""
    _decide(session, alert, "resolve", by, reason)


def _decide(session: Session, alert: str, verb: str, by: str | None, reason: str | None) -> None:
    daemon = session.daemon(f"chronicled alerts {'ack' if verb == 'acknowledge' else verb}")
    answer = daemon.post(f"{alert_path(alert)}/{verb}", given(by=by, reason=reason))
    if session.as_json:
        print_json(answer)
    else:
        print_line(f"{visible(alert)}: {verb}d")
