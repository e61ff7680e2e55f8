"""``chronicled summary``: how many jobs there are, how they went, and how long they took."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final

import typer

from daemon.cli.listing import AsOfOption, SinceOption, UntilOption, ask, given
from daemon.cli.output import (
    Column,
    column,
    notice,
    on_terminal,
    print_json,
    print_line,
    print_list,
    seconds,
)
from daemon.cli.session import Session, with_session

DAYS_SHOWN: Final = 14

STATUS_COLUMNS = (
    column("status", state=True, whole=True),
    column("jobs", right=True),
)

KIND_COLUMNS = (
    column("kind", whole=True),
    column("jobs", right=True),
    column("failed", right=True),
    Column("run p50", lambda row: seconds(row["run"]["p50"]), right=True),
    Column("run p95", lambda row: seconds(row["run"]["p95"]), right=True),
    Column("queue p50", lambda row: seconds(row["queue"]["p50"]), right=True),
    Column("queue p95", lambda row: seconds(row["queue"]["p95"]), right=True),
)

ALERT_COLUMNS = (
    column("alerts", "state", state=True, whole=True),
    column("count", right=True),
)

DAY_COLUMNS = (
    column("day", "date", whole=True),
    column("jobs", right=True),
    Column("failed", lambda day: day["by_status"].get("failed", 0), right=True),
    column("alerts", right=True),
    column("files", right=True),
)

_UNKNOWN: Final = {"p50": None, "p95": None}


@with_session
def summary(
    session: Session,
    since: SinceOption = None,
    until: UntilOption = None,
    kind: Annotated[str | None, typer.Option(help="Only jobs of this kind.")] = None,
    as_of: AsOfOption = None,
) -> None:
    """Sum up jobs, alerts and files, of all time or of the days that a range touches."""
    params = given(since=since, until=until, kind=kind, as_of=as_of)
    reader = session.reader()
    show_summary(session, ask(reader, "/api/summary", params))
    for each in reader.get("/api/metrics")["projections"]:
        if each["state"] == "failed":
            name, place = each["name"], each["failed_position"]
            notice(f"{name} stands still at event {place}: {each['error']}")
            notice(f"What it shows is older. Mend it with: chronicled rebuild {name}")


def show_summary(session: Session, answer: dict[str, Any]) -> None:
    """Print a summary: the document for machines, some tables or lines for people."""
    if session.as_json:
        print_json(answer)
        return
    for label, columns, rows in (
        ("status", STATUS_COLUMNS, _counts("status", "jobs", answer["jobs"]["by_status"])),
        ("kind", KIND_COLUMNS, _kinds(answer)),
        ("alerts", ALERT_COLUMNS, _counts("state", "count", answer["alerts"])),
        ("day", DAY_COLUMNS, answer["days"][-DAYS_SHOWN:]),
    ):
        print_list(columns, rows, label=label)
        if on_terminal():
            print_line()
    if on_terminal():
        notice(f"as of position {answer['as_of']}, days in UTC, the last {DAYS_SHOWN} that count")


def _counts(name: str, number: str, counts: dict[str, int]) -> Iterable[dict[str, Any]]:
    return [{name: key, number: count} for key, count in counts.items()]


def _kinds(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for kind, counts in answer["jobs"]["by_kind"].items():
        durations = answer["durations"].get(kind, {"run": _UNKNOWN, "queue": _UNKNOWN})
        yield {
            "kind": kind,
            "jobs": sum(counts.values()),
            "failed": counts.get("failed", 0),
            **durations,
        }
