"""The alerts: the projection `alerts`, its list, and one alert with its timeline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import Any, Final

import apsw
import orjson

from domain.alert import AlertState, AlertStatus, advance_alert, alert_after, alert_view
from domain.clock import effective_time, is_skewed
from domain.events import RecordedEvent
from domain.suggest import did_you_mean
from domain.timestamps import format_timestamp
from projections.cursor import decode_cursor, encode_cursor, fingerprint
from projections.entities import entity_number
from projections.paging import Shown, check_limit, check_values, invalid, shown_items, text_size
from projections.seam import Batch
from projections.sql import delete_rows, named_statements
from projections.states import EntityStates, advanced
from projections.walks import Order, Value, Way, between, find_keys, is_any

TIMELINE_MAX: Final = 1_000
"""How many entries of an alert's timeline are shown: the newest."""

_RANKS: Final[Mapping[str, int]] = {
    "alert.raised": 0,
    "alert.acknowledged": 1,
    "alert.notified": 1,
    "alert.resolved": 2,
    "alert.purged": 3,
}
_COLUMNS: Final = tuple(AlertState.__dataclass_fields__)
_LABELS: Final = _COLUMNS.index("labels")
_CLOCK: Final = _COLUMNS.index("clock")
_STATE: Final = _COLUMNS.index("state")
_NUMBER: Final = _COLUMNS.index("first_position")
_values = attrgetter(*_COLUMNS)


class Alerts:
    """Each alert as it is now, and its timeline."""

    name = "alerts"
    version = 2
    types = frozenset(_RANKS)

    def schema(self, prefix: str) -> str:
        """Return the DDL of its tables."""
        return named_statements("alerts.sql", prefix)["schema"]

    def fold(self, db: apsw.Connection, prefix: str) -> AlertsFold:
        """Return the fold over the tables with this prefix."""
        return AlertsFold(db, prefix)


class AlertsFold:
    """Writes the alerts of a batch, and an entry of the timeline for each event."""

    def __init__(self, db: apsw.Connection, prefix: str) -> None:
        self._db = db
        self._sql = named_statements("alerts.sql", prefix)
        self._states = EntityStates(self._load)

    def forget(self) -> None:
        """Drop what is remembered of the rows."""
        self._states.forget()

    def _load(self, alert: int) -> AlertState | None:
        row = self._db.execute(self._sql["load_alert"], (alert,)).fetchone()
        return None if row is None else _state(row)

    def apply(self, batch: Batch) -> None:
        """Fold the events of each alert and write it."""
        for alert in batch.gone:
            self._states.end(alert)
        delete_rows(self._db, self._sql, ("delete_alert", "delete_entries"), batch.gone)
        entries, rows = [], []
        states: dict[int, AlertState] = {}
        for alert, state, events in self._states.before(batch):
            entries += [_entry(alert, event) for event in events]
            states[alert] = after = advanced(advance_alert, state, events)
            rows.append(_row(after))
        entries.sort()
        self._db.executemany(self._sql["insert_entry"], entries)
        self._db.executemany(self._sql["write_alert"], rows)
        self._states.keep(states, batch)


def _row(state: AlertState) -> tuple[Any, ...]:
    values = list(_values(state))
    for place in (_LABELS, _CLOCK):
        if values[place] is not None:
            values[place] = orjson.dumps(values[place]).decode()
    listed = state.updated if state.first_seen is None else state.first_seen
    return (*values, listed)


def _state(row: Sequence[Any]) -> AlertState:
    values = list(row)
    values[_STATE] = AlertStatus(values[_STATE])
    for place in (_LABELS, _CLOCK):
        if values[place] is not None:
            values[place] = orjson.loads(values[place])
    return AlertState(*values)


def _entry(alert: int, event: RecordedEvent) -> tuple[Any, ...]:
    said = event.payload.get
    actor = event.extensions.get("actor")
    return (
        event.position, alert, event.version, event.type, effective_time(event),
        _RANKS[event.type], event.recordedtime, event.source, actor and str(actor), said("by"),
        said("reason"), said("channel"), said("severity"), said("message"), is_skewed(event),
    )  # fmt: skip


_SQL = named_statements("alerts.sql")
_ORDER: Final = Order(("listed", "alert"), descending=True)
_EQUAL: Final = ("severity", "kind", "job", "fingerprint")


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """Which alerts a list shows: all conditions hold; ``since`` and ``until`` are inclusive.

    ``state`` holds states, any of which fits; the times are of when it was first seen,
    microseconds.
    """

    state: Sequence[str] = ()
    severity: str | None = None
    kind: str | None = None
    job: str | None = None
    fingerprint: str | None = None
    since: int | None = None
    until: int | None = None


def list_alerts(
    db: apsw.Connection, wanted: AlertFilter, limit: int, cursor: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Return the items of one page, newest first, and the cursor of the next.

    Raises:
        Invalid: a value or the limit cannot be used.
        InvalidCursor: the cursor belongs to another list.

    """
    check_limit(limit)
    given = check_values({name: getattr(wanted, name) for name in (*_EQUAL, "since", "until")})
    filters: dict[str, Sequence[Value]] = {name: (given[name],) for name in _EQUAL if name in given}
    if wanted.state:
        filters["state"] = _known_states(wanted.state)
    bound_to = fingerprint("alerts", sorted(filters.items()), wanted.since, wanted.until)
    after = decode_cursor(bound_to, cursor, (int, int)) if cursor else None
    span = between("listed", wanted.since, wanted.until)
    ways = [
        Way(
            [[is_any(column, [value], driving=True), *span] for value in filters[column]],
            [is_any(each, filters[each]) for each in filters if each != column],
        )
        for column in filters
    ] or [Way([span])]
    found = find_keys(db, "alerts", _ORDER, ways, after, limit + 1)
    items, last = shown_items(found, limit, lambda numbers: _shown(db, numbers))
    return items, encode_cursor(bound_to, last) if last else None


def _known_states(given: Sequence[str]) -> tuple[str, ...]:
    known = {str(state) for state in AlertStatus}
    for state in given:
        if state not in known:
            raise invalid("state", f"unknown state {state!r}; {did_you_mean(state, known)}")
    return tuple(sorted({str(state) for state in given}))


def _shown(db: apsw.Connection, numbers: str) -> Iterator[Shown]:
    """Yield alerts by their numbers, a JSON array."""
    for row in db.execute(_SQL["show_alerts"], (numbers,)):
        yield row[_NUMBER], alert_view(_state(row)), text_size(row)


def find_alert(db: apsw.Connection, alert_id: str) -> dict[str, Any] | None:
    """Return one alert by its id with the newest entries of its timeline, oldest of them first."""
    alert = entity_number(db, f"alert/{alert_id}")
    row = db.execute(_SQL["load_alert"], (alert,)).fetchone()
    if row is None:
        return None
    rows = db.execute(_SQL["newest_entries"], (alert, TIMELINE_MAX)).fetchall()
    timeline = [_timeline_item(row) for row in reversed(rows)]
    return {**alert_view(_state(row)), "timeline": timeline}


def alert_of(events: Iterable[RecordedEvent]) -> dict[str, Any] | None:
    """Return what `find_alert` gives, folded from the alert's events; None when there are none."""
    state: AlertState | None = None
    entries: list[tuple[Any, ...]] = []
    for event in events:
        state = alert_after(state, event)
        if state is None:
            entries.clear()
            continue
        entries.append(_entry(state.first_position, event))
        if len(entries) == 2 * TIMELINE_MAX:
            entries = sorted(entries, key=_by_time)[-TIMELINE_MAX:]
    if state is None:
        return None
    newest = sorted(entries, key=_by_time)[-TIMELINE_MAX:]
    return {**alert_view(state), "timeline": [_timeline_item(_shown_of(each)) for each in newest]}


# Of an entry as `_entry` makes it: what orders a timeline, and what is shown of it.
_by_time = itemgetter(4, 5, 0)
_shown_of = itemgetter(0, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14)


def _timeline_item(row: Sequence[Any]) -> dict[str, Any]:
    position, version, type_, time, recordedtime, *said, skewed = row
    names = ("source", "actor", "by", "reason", "channel", "severity", "message")
    return {
        "position": position,
        "version": version,
        "type": type_,
        "time": format_timestamp(time),
        "recordedtime": format_timestamp(recordedtime),
        **dict(zip(names, said, strict=True)),
        "skewed": bool(skewed),
    }
