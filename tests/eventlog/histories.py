"""Random histories, exported and imported within this process."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
from hypothesis import strategies as st
from log_driving import START, Clock, drive, sql

from daemon.eventlog import chain
from daemon.eventlog.log import EventLog
from daemon.eventlog.log_file import LogFile
from daemon.eventlog.requests import Work
from daemon.eventlog.statements import SQL
from daemon.eventlog.transaction import Stored
from daemon.replay.bounds import Trailer
from daemon.replay.export import export
from daemon.replay.importing import import_history
from daemon.replay.lines import read_batches
from domain.catalog import event_types, example_of
from domain.events import NewEvent
from domain.historic import read_historic

TEXT = st.sampled_from(["a", "b/c", "d%2Fe", "Ümläut ✓", "日本/語", "x" * 300, '\u2028 e\u0301 f"'])
TYPES = st.sampled_from([entry.name for entry in event_types()])


@st.composite
def new_events(draw: st.DrawFn) -> NewEvent:
    """Draw an event of any type, also of those that only the daemon records."""
    type_ = draw(TYPES)
    payload = example_of(type_)
    if draw(st.booleans()):
        payload["extra"] = draw(
            st.dictionaries(TEXT, st.floats(allow_nan=False) | TEXT | st.none(), max_size=3)
        )
    return NewEvent(
        type=type_,
        subject=draw(TEXT),
        source=draw(st.sampled_from(["/a", "urn:b"])),
        id=draw(st.integers(0, 30).map(str) | TEXT),
        data=orjson.dumps(payload),
        time=draw(st.none() | st.integers(START - 10**15, START + 10**13)),
        extensions=draw(
            st.none()
            | st.fixed_dictionaries(
                {},
                optional={"correlationid": TEXT, "count": st.integers(-9, 9), "hot": st.booleans()},
            )
        ),
    )


def fill(directory: Path, groups: Sequence[Sequence[NewEvent]], *, step: int = 1_000_001) -> Path:
    """Make a log of groups of events, each recorded at its own moment; return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    clock = Clock()
    log = EventLog.open(directory / "log.db", clock=clock)
    for group in groups:
        drive(log, list(group))
        clock.now += step
    log.close()
    return directory / "log.db"


def add_foreign(path: Path, name: str) -> None:
    """Add an event of an application of the library."""
    log = EventLog.open(path)
    drive(log, Work(lambda work: work.insert_stored(name, [Stored("s", 1, "t", b"{}")])))
    log.close()


def exported(path: Path, first: int = 1, last: int | None = None, **options: Any) -> bytes:
    """Return an export of a log."""
    return exported_with(path, first, last, **options)[0]


def exported_with(
    path: Path, first: int = 1, last: int | None = None, **options: Any
) -> tuple[bytes, Trailer]:
    """Return an export of a log, and what its last line says."""
    log = LogFile(path)
    output = io.BytesIO()
    upto = log.head() if last is None else last
    trailer = export(log, output.write, first=first, last=upto, **options)
    log.close()
    return output.getvalue(), trailer


def imported(text: bytes, directory: Path) -> Path:
    """Import an export into a directory; return the path of its log."""
    import_history(read_batches(io.BufferedReader(io.BytesIO(text))), directory)
    return directory / "log.db"


def rows(path: Path) -> list[Any]:
    """Return every row of a log, as the chain covers them."""
    return sql(path, SQL["named_rows_after"], (0, 10**9))


def chained_again(lines: Sequence[bytes], change: Callable[[int, Any], None]) -> bytes:
    """Return an export whose events were changed by somebody who knows how to make digests."""
    header, *events, trailer = [orjson.loads(line) for line in lines]
    digest = chain.genesis(header["subject"])
    changed = []
    for index, event in enumerate(events):
        change(index, event)
        found = read_historic(orjson.dumps(event | {"logdigest": None}))
        head = chain.row_head(
            found.position,
            found.version,
            found.class_version,
            found.time,
            f" {found.recordedtime} ",
        )
        digest = chain.chained(digest, chain.sha256(head + found.tail).digest())
        data = event.pop("data")
        changed.append(orjson.dumps(event | {"logdigest": digest.hex(), "data": data}))
    trailer["data"]["digest"] = digest.hex()
    return b"\n".join([lines[0], *changed, orjson.dumps(trailer)]) + b"\n"
