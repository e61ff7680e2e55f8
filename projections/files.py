"""The files: the projection `files`, its list of messages, and the last state of a path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any, Final, NamedTuple

import apsw
import orjson

from domain.clock import effective_time, is_skewed
from domain.events import RecordedEvent
from domain.file import FACTS, FileState, FileStatus, advance_file, file_view
from domain.timestamps import format_timestamp
from projections.cursor import decode_cursor, encode_cursor, fingerprint
from projections.entities import entity_number
from projections.paging import Shown, check_limit, check_values, invalid, shown_items, text_size
from projections.seam import Batch
from projections.sql import delete_rows, named_statements
from projections.states import EntityStates
from projections.walks import Condition, Order, Way, between, find_keys, is_any

MATCHES_MAX: Final = 100
"""How many matches of a message are shown."""

_COLUMNS: Final = tuple(FileState.__dataclass_fields__)
_STATE: Final = _COLUMNS.index("state")
_JSON: Final = tuple(_COLUMNS.index(name) for name in ("facts", "match", "outcome"))
_values = attrgetter(*_COLUMNS)


class Files:
    """Every message about a file with what matched it, and the last state of each path."""

    name = "files"
    version = 3
    types = frozenset(
        f"file.{verb}" for verb in ("observed", "matched", "processed", "removed", "purged")
    )

    def schema(self, prefix: str) -> str:
        """Return the DDL of its tables."""
        return named_statements("files.sql", prefix)["schema"]

    def fold(self, db: apsw.Connection, prefix: str) -> FilesFold:
        """Return the fold over the tables with this prefix."""
        return FilesFold(db, prefix)


class _Known(NamedTuple):
    """What the fold knows of a path: its state, and its newest message in log order."""

    state: FileState
    newest: int | None


class FilesFold:
    """Writes the messages and matches of a batch, and the paths they are about."""

    def __init__(self, db: apsw.Connection, prefix: str) -> None:
        self._db = db
        self._sql = named_statements("files.sql", prefix)
        self._states = EntityStates(self._load)

    def forget(self) -> None:
        """Drop what is remembered of the rows."""
        self._states.forget()

    def _load(self, file: int) -> _Known | None:
        row: Any = self._db.execute(self._sql["load_file"], (file,)).fetchone()
        return None if row is None else _Known(_state(row[:-1]), row[-1])

    def apply(self, batch: Batch) -> None:
        """Fold the events of each path; write its messages, then what matched them."""
        for file in batch.gone:
            self._states.end(file)
        names = ("delete_matches", "delete_messages", "delete_file")
        delete_rows(self._db, self._sql, names, batch.gone)
        messages: list[tuple[Any, ...]] = []
        matches: list[tuple[int, RecordedEvent, int | None]] = []
        rows = []
        known: dict[int, _Known] = {}
        for file, before, events in self._states.before(batch):
            state, newest = before or (None, None)
            for event in events:
                state = advance_file(state, event)
                if event.type == "file.observed":
                    newest = event.position
                    messages.append(_message_row(file, event))
                elif event.type == "file.matched":
                    matches.append((file, event, newest))
                known[file] = _Known(state, newest)
            rows.append(_row(known[file]))
        messages.sort()
        self._db.executemany(self._sql["insert_message"], messages)
        for match in matches:
            self._write_match(*match)
        self._db.executemany(self._sql["write_file"], rows)
        self._states.keep(known, batch)

    def _write_match(self, file: int, event: RecordedEvent, newest: int | None) -> None:
        """Link a match to the message that caused it, else to the newest before it."""
        cause = event.extensions.get("causationid")
        message = None
        if cause is not None:
            sought = (file, str(cause), event.position)
            message = self._db.execute(self._sql["find_message"], sought).get
        message = message or newest
        if message is None:
            return
        said = event.payload.get
        phases, jobs = said("phases") or [], said("jobs") or []
        self._db.execute(
            self._sql["insert_match"],
            (event.position, message, effective_time(event), said("workflow"),
             orjson.dumps(phases).decode(), orjson.dumps(jobs).decode(), said("reason")),
        )  # fmt: skip
        if phases or jobs:
            self._db.execute(self._sql["set_matched"], (message,))


def _message_row(file: int, event: RecordedEvent) -> tuple[Any, ...]:
    facts = {name: event.payload[name] for name in FACTS if event.payload.get(name) is not None}
    return (
        event.position, file, event.subject, event.id, event.source, effective_time(event),
        event.recordedtime, is_skewed(event), orjson.dumps(facts).decode(),
    )  # fmt: skip


def _row(known: _Known) -> tuple[Any, ...]:
    values = list(_values(known.state))
    for place in _JSON:
        values[place] = orjson.dumps(values[place]).decode()
    return (*values, known.newest)


def _state(row: Sequence[Any]) -> FileState:
    values = list(row)
    values[_STATE] = FileStatus(values[_STATE])
    for place in _JSON:
        values[place] = orjson.loads(values[place])
    return FileState(*values)


_SQL = named_statements("files.sql")
_BY_TIME: Final = Order(("time", "message"), descending=True)
_BY_PATH: Final = Order(("path", "time", "message"), descending=False)


@dataclass(frozen=True, slots=True)
class FileFilter:
    """Which messages a list shows: all conditions hold; ``since`` and ``until`` are inclusive.

    ``path`` is a whole path, ``prefix`` the beginning of some; the times are of the observation,
    microseconds. ``matched`` false: no rule matched, or none was asked.
    """

    path: str | None = None
    prefix: str | None = None
    matched: bool | None = None
    since: int | None = None
    until: int | None = None


def list_files(
    db: apsw.Connection, wanted: FileFilter, limit: int, cursor: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Return the messages of one page and the cursor of the next.

    Newest first; those with a common ``prefix`` by path, and oldest first within a path.

    Raises:
        Invalid: a value or the limit cannot be used.
        InvalidCursor: the cursor belongs to another list.

    """
    check_limit(limit)
    names = ("path", "prefix", "since", "until")
    check_values({name: getattr(wanted, name) for name in names})
    order = _BY_TIME if wanted.prefix is None else _BY_PATH
    bound_to = fingerprint("files", wanted)
    shape: list[type] = [str, int, int] if order is _BY_PATH else [int, int]
    after = decode_cursor(bound_to, cursor, shape) if cursor else None
    found = find_keys(db, "file_messages", order, _ways(wanted), after, limit + 1)
    items, last = shown_items(found, limit, lambda numbers: _shown(db, numbers))
    return items, encode_cursor(bound_to, last) if last else None


def _ways(wanted: FileFilter) -> list[Way]:
    """Return the ways to the messages of a list: by path, or by time, or by both."""
    if wanted.path is not None and wanted.prefix is not None:
        raise invalid("prefix", "path and prefix exclude each other")
    span = between("time", wanted.since, wanted.until)
    matched = [] if wanted.matched is None else [int(wanted.matched)]
    others = [is_any("matched", [value]) for value in matched]
    if wanted.path is not None:
        return [Way([[is_any("path", [wanted.path], driving=True), *span]], others)]
    by_time = [[*span, *(is_any("matched", [value], driving=True) for value in matched)]]
    if wanted.prefix is None:
        return [Way(by_time)]
    below = Way(
        [_starting_with("path", wanted.prefix)],
        [*others, *between("+time", wanted.since, wanted.until)],
    )
    if not by_time[0]:
        return [below]
    return [below, Way(by_time, _starting_with("+path", wanted.prefix), ordered=False)]


def _starting_with(column: str, prefix: str) -> list[Condition]:
    """Return the range of texts that begin with a prefix, in the order of their UTF-8 bytes."""
    conditions = [Condition(f"{column} >= ?", (prefix,))]
    rest = prefix.rstrip("\U0010ffff")
    if rest:
        # The next character after the last one; the surrogates between are no characters.
        following = ord(rest[-1]) + 1
        end = rest[:-1] + chr(0xE000 if following == 0xD800 else following)
        conditions.append(Condition(f"{column} < ?", (end,)))
    return conditions


def _shown(db: apsw.Connection, numbers: str) -> Iterator[Shown]:
    """Yield messages by their numbers (a JSON array), each with what matched it."""
    rows = db.execute(_SQL["show_messages"], (numbers, MATCHES_MAX))
    for message, found in groupby(rows, itemgetter(slice(10))):
        matches = [row[10:] for row in found if row[10] is not None]
        text = text_size(message) + sum(map(text_size, matches))
        yield message[0], _item(message, matches), text


def _item(row: Sequence[Any], matches: Sequence[Sequence[Any]]) -> dict[str, Any]:
    position, path, event, source, time, recordedtime, skewed, facts, matched, state = row
    said: Mapping[str, Any] = orjson.loads(facts)
    return {
        "path": path,
        "state": state,
        **{name: said.get(name) for name in FACTS},
        "observed": format_timestamp(time),
        "recordedtime": format_timestamp(recordedtime),
        "skewed": bool(skewed),
        "position": position,
        "event": event,
        "source": source,
        "matched": bool(matched) if matches else None,
        "matches": [_match(match) for match in matches],
    }


def _match(row: Sequence[Any]) -> dict[str, Any]:
    position, time, workflow, phases, jobs, reason = row
    return {
        "workflow": workflow,
        "phases": orjson.loads(phases),
        "jobs": orjson.loads(jobs),
        "reason": reason,
        "time": format_timestamp(time),
        "position": position,
    }


def find_file(db: apsw.Connection, path: str) -> dict[str, Any] | None:
    """Return the last that is known of a path, None when nothing is."""
    row: Any = db.execute(_SQL["load_file"], (entity_number(db, f"file/{path}"),)).fetchone()
    return None if row is None else file_view(_state(row[:-1]))
