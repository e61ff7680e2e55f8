"""``chronicled size``: what takes how much room, how that grows, and when there is none left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final

import typer

from daemon.cli.listing import ask
from daemon.cli.operation import operate
from daemon.cli.output import Column, Row, column, notice, print_json, print_line, print_list, short
from daemon.cli.progress import progress_shown
from daemon.cli.session import Session, with_session
from daemon.size.words import readable

FILE_COLUMNS: Final = (
    column("file", whole=True),
    Column("size", lambda row: readable(row["bytes"]), right=True),
)
TABLE_COLUMNS: Final = (
    column("database", whole=True),
    column("table", "name", whole=True),
    column("rows", right=True),
    Column("size", lambda row: _about(row, "bytes"), right=True),
    Column("of it indexes", lambda row: _about(row, "index_bytes"), right=True),
)
CATEGORY_COLUMNS: Final = (
    column("category", "name", whole=True),
    column("events", right=True),
    Column("size", lambda row: readable(row["bytes"]), right=True),
)
GROWTH_COLUMNS: Final = (
    Column("last", lambda row: f"{row['days']} d", whole=True),
    Column("events a day", lambda row: f"{row['events']:.0f}", right=True),
    Column("size a day", lambda row: readable(row["bytes"]), right=True),
)
FORECAST_COLUMNS: Final = (
    column("line", "what", whole=True),
    Column("at", lambda row: readable(row["line"]), right=True),
    Column("now", lambda row: readable(row["present"]), right=True),
    Column("a day", lambda row: _rate(row["per_day"]), right=True),
    Column("reached", lambda row: _when(row)),
)


@with_session
def size(
    session: Session,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure tables and categories anew, before.")
    ] = False,
) -> None:
    """Show what takes how much room, how it grows, and when a line is reached.

    What tables and categories take is measured by the housekeeping, and with --measure.
    """
    if measure:
        _measure(session)
    answer = ask(session.reader(), "/api/size", {})
    if session.as_json:
        print_json(answer)
    else:
        _print(answer)


def _measure(session: Session) -> None:
    with progress_shown("measure") as on_progress:
        if daemon := session.connect():
            operate(daemon, {"kind": "measure"}, on_progress)
        else:
            from daemon.cli.directory import measure_files

            measure_files(session.target.data, on_progress)


def _print(answer: dict[str, Any]) -> None:
    disk, measured = answer["disk"], answer["measured"]
    print_line(
        f"disk: {disk['state']}, {readable(disk['free'])} of {readable(disk['total'])} free; "
        f"low below {readable(disk['warn'])}, events refused below {readable(disk['refuse'])}; "
        f"{readable(disk['reserve'])} in reserve"
    )
    print_line(f"data directory: {readable(answer['data']['bytes'])}")
    files = answer["data"]["files"]
    _table(FILE_COLUMNS, [{"file": name, "bytes": files[name]} for name in files if files[name]])
    _table(FORECAST_COLUMNS, answer["forecast"])
    if measured is None:
        notice("Tables and categories were not measured yet: chronicled size --measure")
        return
    print_line()
    print_line(f"measured {short(measured['time'])} up to position {measured['position']}")
    _table(CATEGORY_COLUMNS, measured["categories"])
    _table(GROWTH_COLUMNS, measured["growth"])
    _table(TABLE_COLUMNS, _tables(measured["databases"]))


def _table(columns: tuple[Column, ...], rows: Iterable[dict[str, Any]]) -> None:
    if rows := list(rows):
        print_line()
        print_list(columns, rows)


def _tables(databases: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, database in databases.items():
        filled = (table for table in database["tables"] if table["rows"] != 0)
        yield from ({"database": name, **table} for table in filled)


def _about(row: Row, key: str) -> str:
    return f"{'~' if row['estimated'] else ''}{readable(row[key])}"


def _rate(per_day: float | None) -> str:
    if per_day is None:
        return "not known yet"
    return f"{'-' if per_day < 0 else ''}{readable(abs(per_day))}"


def _when(row: Row) -> str:
    if row["days"] == 0:
        return "now"
    if row["days"] is not None:
        return f"in {row['days']:.1f} days, {short(row['at'])}"
    return "not known yet" if row["per_day"] is None else "never"
