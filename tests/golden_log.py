"""Makes a golden log: ``python tests/golden_log.py`` (or ``--views``), from the top directory.

A golden log is a small history as one schema of the log keeps it, with all that a producer can
send. It is made once for each schema and never again, so that every later version is held to
reading what this one wrote:

    tests/golden/schema-N/log.db.gz       the file of the log
    tests/golden/schema-N/history.ndjson  the same exported
    tests/golden/schema-N/views.json      the rows that every projection makes of it

Without an option it makes the one of the present schema, where there is none: run it when
`SCHEMA_VERSION` of `daemon.eventlog.connection` is raised, or when an event type or a class
version is new (then into a folder of its own, ``--name schema-N-WHAT``). ``--views`` writes
``views.json`` of all of them anew: run it when a projection has a new version, and look at the
difference.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import orjson

GOLDEN = Path(__file__).with_name("golden")
sys.path.insert(0, str(GOLDEN.parent.parent))

from daemon.eventlog.connection import SCHEMA_VERSION  # noqa: E402
from daemon.eventlog.log import EventLog  # noqa: E402
from daemon.eventlog.log_file import LogFile  # noqa: E402
from daemon.eventlog.requests import Append  # noqa: E402
from daemon.replay.export import export  # noqa: E402
from daemon.replay.whole_file import whole_file  # noqa: E402
from domain.catalog import event_types, example_of  # noqa: E402
from domain.cloudevents import from_objects  # noqa: E402
from domain.events import NewEvent  # noqa: E402
from domain.limits import Limits  # noqa: E402
from domain.timestamps import MICROSECONDS, format_timestamp  # noqa: E402
from projections.runner import ProjectionRunner  # noqa: E402

NOON = 1_770_206_400 * MICROSECONDS
"""2026-02-04T12:00:00Z, when the first event is recorded."""


def event(number: int, type_: str, subject: str, **more: Any) -> dict[str, Any]:
    """Return an event that happened a minute after the one before it, and before noon."""
    return {
        "specversion": "1.0",
        "id": f"golden-{number}",
        "source": "/golden/producer",
        "type": type_,
        "subject": subject,
        "time": format_timestamp(NOON + (number - 1000) * 60 * MICROSECONDS),
        "data": example_of(type_),
        **more,
    }


def groups() -> list[list[NewEvent]]:
    """Return what is appended, one group after the other."""
    clients = [entry.name for entry in event_types() if entry.client]
    own = [entry.name for entry in event_types() if not entry.client]
    subjects = ["annotation-17", "etl/hourly/2026-02-04", "Probe Ü/日本 ✓"]
    stories = [
        event(n, type_, subject, correlationid="run-1")
        for n, (type_, subject) in enumerate(
            (type_, subject) for subject in subjects for type_ in clients
        )
    ]
    late = event(900, "job.queued", subjects[0], time="2026-02-04T11:00:00.000001+02:00")
    skewed = event(901, "job.started", "ahead", time="2026-03-01T00:00:00Z", actor="ana")
    untimed = event(902, "job.submitted", "no-time", count=-3, hot=True, note='\u2028 "e\u0301"')
    del untimed["time"]
    again = event(903, "job.submitted", subjects[0], data={"kind": "second run", "attempt": 2})
    batches = [stories, [late, skewed], [untimed, again, late, stories[0]]]
    return [
        *(from_objects(batch, Limits()) for batch in batches),
        [
            NewEvent(type_, subjects[0], "/chronicled", f"own-{n}", orjson.dumps(example_of(type_)))
            for n, type_ in enumerate(own)
        ],
    ]


def _appended(outcome: Any) -> None:
    if isinstance(outcome, BaseException):
        raise outcome


def make(folder: Path) -> None:
    """Make a golden log of the present schema."""
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "log.db")
        now = NOON
        log = EventLog.open(path, clock=lambda: now)
        for group in groups():
            log.submit(Append(group), _appended)
            log.writer.step(now)
            now += 7_200 * MICROSECONDS + 1
        log.close()
        with whole_file(folder / "history.ndjson") as write, closing(LogFile(path)) as file:
            export(file, write, first=1, last=file.head())
        with closing(apsw.Connection(str(path))) as db:
            db.pragma("journal_mode", "delete")
        (folder / "log.db.gz").write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))


def restore(folder: Path, path: Path) -> None:
    """Write the file of a golden log."""
    path.write_bytes(gzip.decompress((folder / "log.db.gz").read_bytes()))


def views_of(log_path: Path, views_path: Path) -> dict[str, Any]:
    """Return the rows of every table that the projections make of a log, as JSON has them."""
    with closing(LogFile(log_path)) as log:
        runner = ProjectionRunner(views_path, log)
        runner.catch_up()
        runner.close()
    with closing(apsw.Connection(str(views_path))) as db:
        live: Any = db.execute(
            "SELECT name, version, tables FROM projections WHERE live"
        ).fetchall()
        tables = ["entities", *(table for row in live for table in row[2].split())]
        found = {}
        for table in sorted(tables):
            key = "rowid, *" if table == "search" else "*"
            rows = db.execute(f"SELECT {key} FROM {table}").fetchall()
            found[table] = sorted([[_plain(value) for value in row] for row in rows], key=repr)
    return {"versions": {row[0]: row[1] for row in sorted(live)}, "rows": found}


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def write_views(folder: Path) -> None:
    """Write the rows that are expected of a golden log, a line each."""
    with tempfile.TemporaryDirectory() as directory:
        restore(folder, Path(directory, "log.db"))
        found = views_of(Path(directory, "log.db"), Path(directory, "views.db"))
    lines = [f'{{"versions": {orjson.dumps(found["versions"]).decode()}, "rows": {{']
    tables = []
    for table, rows in found["rows"].items():
        shown = ",\n".join(orjson.dumps(row).decode() for row in rows)
        tables.append(f'"{table}": [\n{shown}]' if rows else f'"{table}": []')
    (folder / "views.json").write_text("\n".join([*lines, ",\n".join(tables)]) + "}}\n")


def main() -> None:
    """Make what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--name", default=f"schema-{SCHEMA_VERSION}", help="the folder's name")
    parser.add_argument("--views", action="store_true", help="write views.json of all anew")
    asked = parser.parse_args()
    if asked.views:
        for folder in sorted(GOLDEN.iterdir()):
            write_views(folder)
    else:
        make(GOLDEN / asked.name)
        write_views(GOLDEN / asked.name)


if __name__ == "__main__":
    main()
