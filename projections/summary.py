"""Kept counts: the projection `summary`, and the summary made of them.

The measures are ``status`` (jobs by status), ``kind`` (the same, by kind), ``run`` and ``queue``
(durations of jobs by kind, in buckets), ``alert`` (alerts by state) and ``file`` (messages about
files). A job counts for the day it was submitted, an alert for that of its first raise.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

import apsw

from domain.alert import AlertState, AlertStatus, advance_alert
from domain.clock import effective_time
from domain.events import RecordedEvent
from domain.job import TERMINAL, JobState, JobStatus
from domain.lives import is_marker
from domain.timestamps import EARLIEST, MICROSECONDS, format_timestamp
from projections import purged
from projections.alerts import Alerts
from projections.entities import Ended
from projections.job_states import JOB_TYPES, Before, FoldedJob
from projections.paging import check_values
from projections.seam import Batch, Rows
from projections.sql import delete_rows, named_statements, statements_of
from projections.states import EntityStates, advanced

HOUR: Final = 3_600 * MICROSECONDS
DAY: Final = 24 * HOUR

TOTAL_SPAN, DAY_SPAN, HOUR_SPAN = 0, 1, 2

DAYS_MAX: Final = 366
"""How many days with data one summary lists: the newest."""
KINDS_MAX: Final = 100
"""How many kinds one summary tells apart: those with the most jobs."""

BUCKETS: Final = tuple(0.001 * 2 ** (number / 4) for number in range(200))
"""Upper bounds of the buckets of durations (seconds): each a fifth wider than the one before."""

_ANY_KIND: Final = ""
_ALERT_TYPES: Final = Alerts.types
_OBSERVED: Final = "file.observed"
_FILE_TYPES: Final = frozenset({_OBSERVED, "file.purged"})


class Summary:
    """How many jobs, alerts and files there are, by day and hour, and how long jobs take."""

    name = "summary"
    version = 3
    types = JOB_TYPES | _ALERT_TYPES | _FILE_TYPES | {purged.SUMMARISED}
    ordered: frozenset[str] = frozenset()

    def schema(self, prefix: str) -> str:
        """Return the DDL of its tables."""
        return named_statements("summary.sql", prefix)["schema"]

    def fold(self, db: apsw.Connection, prefix: str) -> SummaryFold:
        """Return the fold over the tables with this prefix."""
        return SummaryFold(db, prefix)

    def whole_rows(self, batch: Batch) -> Rows:
        """Return what the streams add to the counters, and the alerts."""
        changes = _Changes()
        for _, _, state, _, _, _ in batch.jobs:
            changes.job(_job_facts(state), 1)
        for counted, number in purged.counts_of_whole(_purges(batch)).items():
            changes.of_day(counted, number)
        alerts = []
        for alert, events in batch.of(_ALERT_TYPES).by_entity.items():
            after = advanced(advance_alert, None, events)
            changes.other("alert", _alert_hour(after), after.state, 1)
            state, *times = _alert_row(after)
            alerts.append((str(state), *times, alert))
        _count_files(batch, changes)
        counters = [
            (*counted[:4], counted[4] if isinstance(counted[4], int) else str(counted[4]), number)
            for counted, number in changes.counters()
        ]
        return {"add": counters, "write_alert": alerts, "add_purged": changes.days()}

    def whole_statements(self, prefix: str) -> Mapping[str, str]:
        """Return the statements of the rows."""
        return statements_of("summary.sql", prefix, "add", "write_alert", "add_purged")


_JobFacts = tuple[int, str, str, int | None, int | None]
"""What a job adds to the counts: hour, kind, status, and its run and its wait as buckets."""

Counted = tuple[str, int, int, str, str | int]
"""The key of a counter: measure, span, start, kind, key."""


def _spans(hour: int) -> tuple[tuple[int, int], ...]:
    return ((TOTAL_SPAN, 0), (DAY_SPAN, hour // 24), (HOUR_SPAN, hour))


def _job_facts(job: JobState | Before) -> _JobFacts:
    started, status = job.started, job.status
    run = queue = None
    if started is not None:
        # Where the times contradict, it is not known how long it was.
        if started >= job.submitted:
            queue = _bucket((started - job.submitted) / MICROSECONDS)
        ended = job.status_time if status in TERMINAL else None
        if ended is not None and ended >= started:
            run = _bucket((ended - started) / MICROSECONDS)
    return (job.submitted // HOUR, job.kind or _ANY_KIND, status, run, queue)


def job_summary(state: JobState) -> dict[str, Any]:
    """Return what a job adds to the counts, for the marker that purges it."""
    hour, kind, status, run, queue = _job_facts(state)
    return {"hour": hour, "kind": kind, "status": str(status), "run": run, "queue": queue}


def alert_summary(state: AlertState) -> dict[str, Any]:
    """Return what an alert adds to the counts, for the marker that purges it."""
    return {"hour": _alert_hour(state), "state": str(state.state)}


def file_summary(events: Iterable[RecordedEvent]) -> dict[str, Any]:
    """Return what the messages about a file add to the counts, for the marker that purges it.

    Of all its events; what an earlier purge counted is left out. There may be very many.
    """
    hours: Counter[int] = Counter()
    for event in events:
        if is_marker(event):
            hours.clear()
        elif event.type == _OBSERVED:
            hours[observed_hour(event)] += 1
    return hours_summary(hours)


def observed_hour(event: RecordedEvent) -> int:
    """Return the hour for which a message about a file counts."""
    return effective_time(event) // HOUR


def hours_summary(hours: Mapping[int, int]) -> dict[str, Any]:
    """Return the same from how many messages there were in each hour."""
    return {"hours": [[hour, hours[hour]] for hour in sorted(hours)]}


def _bucket(seconds: float) -> int:
    return bisect_left(BUCKETS, seconds)


def _alert_hour(state: AlertState) -> int:
    return (state.updated if state.first_seen is None else state.first_seen) // HOUR


_alert_row = attrgetter("state", "state_time", "first_seen", "updated")


class _Changes:
    """How a batch moves the counts; what it takes out and puts back is in none of them."""

    def __init__(self) -> None:
        self._jobs: dict[_JobFacts, int] = {}
        self._others: dict[tuple[str, int, str], int] = {}
        self._days: dict[purged.Counted, int] = {}

    def job(self, facts: _JobFacts, number: int) -> None:
        """Count a job in (1) or out (-1)."""
        self._jobs[facts] = self._jobs.get(facts, 0) + number

    def other(self, measure: str, hour: int, key: str, number: int) -> None:
        """Count an alert or a message about a file in or out."""
        counted = (measure, hour, key)
        self._others[counted] = self._others.get(counted, 0) + number

    def of_day(self, counted: purged.Counted, number: int) -> None:
        """Count in what purges add to a day."""
        self._days[counted] = self._days.get(counted, 0) + number

    def moved(self, counted: purged.Counted) -> int:
        """Return what was counted in of a day so far."""
        return self._days.get(counted, 0)

    def days(self) -> list[tuple[Any, ...]]:
        """Return how the counts of purges move: day, measure, kind, key and by how much."""
        return sorted([(*counted, number) for counted, number in self._days.items() if number])

    def counters(self) -> list[tuple[Counted, int]]:
        """Return each counter that changes, in the order of their keys, and by how much."""
        changes: defaultdict[Counted, int] = defaultdict(int)
        durations: defaultdict[Counted, int] = defaultdict(int)
        kinds: defaultdict[tuple[int, str, str], int] = defaultdict(int)
        for (hour, kind, status, run, queue), number in self._jobs.items():
            if number:
                kinds[hour, kind, status] += number
                if run is not None:
                    durations["run", DAY_SPAN, hour // 24, kind, run] += number
                if queue is not None:
                    durations["queue", DAY_SPAN, hour // 24, kind, queue] += number
        for (hour, kind, status), number in kinds.items():
            if number:
                for span, start in _spans(hour):
                    changes["status", span, start, _ANY_KIND, status] += number
                    changes["kind", span, start, kind, status] += number
        for counted, number in durations.items():
            if number:
                measure, _, _, kind, bucket = counted
                changes[counted] += number
                changes[measure, TOTAL_SPAN, 0, kind, bucket] += number
        for (measure, hour, key), number in self._others.items():
            if number:
                for span, start in _spans(hour):
                    changes[measure, span, start, _ANY_KIND, key] += number
        for (day, measure, kind, counted_key), number in self._days.items():
            for span, start in ((TOTAL_SPAN, 0), (DAY_SPAN, day)):
                changes[measure, span, start, kind, counted_key] += number
        return sorted([(counted, number) for counted, number in changes.items() if number])


def _count_files(batch: Batch, changes: _Changes) -> None:
    for event in batch.of(_FILE_TYPES).events:
        if event.type == _OBSERVED:
            changes.other("file", effective_time(event) // HOUR, "observed", 1)


def _purges(batch: Batch) -> list[RecordedEvent]:
    """Return the tombstones, and what takes over what such say, in log order."""
    return [
        event
        for event in batch.events
        if event.type == purged.SUMMARISED or event.position in batch.tombstones
    ]


def _uncount_file(batch: Batch, ended: Ended, changes: _Changes) -> None:
    """Take out the messages of a file that is purged, as far as they were counted."""
    if ended.entity is not None:
        for hour, number in file_summary(batch.life(ended))["hours"]:
            changes.other("file", hour, "observed", -number)


class SummaryFold:
    """Counts what changed in a batch: out of the old counters, into the new ones."""

    def __init__(self, db: apsw.Connection, prefix: str) -> None:
        self._db = db
        self._sql = named_statements("summary.sql", prefix)
        self._alerts = EntityStates(self._load_alert)

    def forget(self) -> None:
        """Drop what is remembered of the rows."""
        self._alerts.forget()

    def _load_alert(self, alert: int) -> AlertState | None:
        row: Any = self._db.execute(self._sql["load_alert"], (alert,)).fetchone()
        if row is None:
            return None
        state = AlertState("", alert, row[3])
        state.state, state.state_time, state.first_seen = AlertStatus(row[0]), row[1], row[2]
        return state

    def apply(self, batch: Batch) -> None:
        """Count the events of a batch."""
        changes = _Changes()
        self._apply_jobs(batch.jobs, changes)
        for before in batch.ended_jobs.values():
            changes.job(_job_facts(before), -1)
        self._apply_alerts(batch.of(_ALERT_TYPES), changes)
        _count_files(batch, changes)
        for ended in batch.of(_FILE_TYPES).ended:
            _uncount_file(batch, ended, changes)
        self._apply_purges(batch, changes)
        counters = changes.counters()
        self._db.executemany(self._sql["add"], [(*counted, number) for counted, number in counters])
        fallen = [counted for counted, number in counters if number < 0]
        self._db.executemany(self._sql["drop_zero"], fallen)

    @staticmethod
    def _apply_jobs(jobs: Sequence[FoldedJob], changes: _Changes) -> None:
        for _, before, state, _, _, _ in jobs:
            if before is None:
                changes.job(_job_facts(state), 1)
            elif _of_interest(state) != _of_interest(before):
                changes.job(_job_facts(before), -1)
                changes.job(_job_facts(state), 1)

    def _apply_purges(self, batch: Batch, changes: _Changes) -> None:
        """Count in what tombstones say, and what is missing of what others took over."""
        for event in _purges(batch):
            if event.type == purged.SUMMARISED:
                for counted, total, _ in purged.taken_over(event):
                    known: int = self._db.execute(self._sql["find_purged"], counted).get or 0
                    changes.of_day(counted, total - known - changes.moved(counted))
            else:
                summary = event.payload.get("summary") or {}
                for counted, number in purged.day_counts(event.type, summary):
                    changes.of_day(counted, number)
        days = changes.days()
        self._db.executemany(self._sql["add_purged"], days)
        self._db.executemany(self._sql["drop_no_purged"], [day[:4] for day in days if day[4] < 0])

    def _apply_alerts(self, batch: Batch, changes: _Changes) -> None:
        for alert in batch.gone:
            known = self._alerts.end(alert)
            if known is not None:
                changes.other("alert", _alert_hour(known), known.state, -1)
        delete_rows(self._db, self._sql, ["delete_alert"], batch.gone)
        rows = []
        states: dict[int, AlertState] = {}
        for alert, state, events in self._alerts.before(batch):
            if state is not None:
                changes.other("alert", _alert_hour(state), state.state, -1)
            states[alert] = after = advanced(advance_alert, state, events)
            changes.other("alert", _alert_hour(after), after.state, 1)
            rows.append((*_alert_row(after), alert))
        self._db.executemany(self._sql["write_alert"], rows)
        self._alerts.keep(states, batch)


_of_interest = attrgetter("submitted", "kind", "status", "status_time", "started")


_SQL = named_statements("summary.sql")
_Sums = dict[str, dict[Any, int]]


def summarise(
    db: apsw.Connection, since: int | None, until: int | None, kind: str | None
) -> dict[str, Any]:
    """Return the summary of all time, or of the UTC days that a range of time touches.

    ``kind`` narrows the jobs and durations to one kind.
    """
    check_values({"since": since, "until": until, "kind": kind})
    first = -(2**62) if since is None else since // DAY
    # A range that ends at midnight does not touch the day that begins there.
    last = 2**62 if until is None else max((until - 1) // DAY, EARLIEST // DAY, first)
    ranged = since is not None or until is not None
    span = (DAY_SPAN, first, last) if ranged else (TOTAL_SPAN, 0, 0)
    kinds = _sums(db, "kind", span, kind)
    kept = sorted(kinds, key=lambda name: (-sum(kinds[name].values()), name))[:KINDS_MAX]
    by_status = kinds.get(kind, {}) if kind else _sums(db, "status", span)[_ANY_KIND]
    alerts = _sums(db, "alert", span)[_ANY_KIND]
    summary = {
        "since": day_text(first) if since is not None else None,
        "until": day_text(last) if until is not None else None,
        "jobs": {
            "total": sum(by_status.values()),
            "by_status": by_status,
            "by_kind": {name: kinds[name] for name in kept},
        },
        "durations": _durations(db, span, kind, kept),
        "alerts": {str(state): alerts.get(state, 0) for state in AlertStatus},
        "days": [
            {"date": day_text(day), **counts}
            for day, counts in _by_time(db, (DAY_SPAN, first, last), kind)
        ],
    }
    if since is not None and first == last:
        hours = (HOUR_SPAN, first * 24, first * 24 + 23)
        summary["hours"] = [
            {"hour": format_timestamp(hour * HOUR), **counts}
            for hour, counts in _by_time(db, hours, kind)
        ]
    return summary


def kept_counts(db: apsw.Connection, days: Iterable[int]) -> dict[purged.Counted, int]:
    """Return what purges add to the counts of some days."""
    found: dict[purged.Counted, int] = {}
    for day in days:
        rows: Any = db.execute(_SQL["purged_of"], (day,))
        found |= {(day, measure, kind, key): count for measure, kind, key, count in rows}
    return found


def count_jobs(db: apsw.Connection) -> dict[str, int]:
    """Return how many jobs have each status."""
    counts = _sums(db, "status", (TOTAL_SPAN, 0, 0))[_ANY_KIND]
    return {str(status): counts.get(status, 0) for status in JobStatus}


def _sums(
    db: apsw.Connection, measure: str, span: tuple[int, int, int], kind: str | None = None
) -> _Sums:
    sums: _Sums = defaultdict(dict)
    if kind is None:
        rows = db.execute(_SQL["sums"], (measure, *span))
    else:
        rows = db.execute(_SQL["sums_of_kind"], (measure, *span, kind))
    for name, key, number in rows:
        sums[name][key] = number
    return sums


def _durations(
    db: apsw.Connection, span: tuple[int, int, int], kind: str | None, kept: Iterable[str]
) -> dict[str, Any]:
    run, queue = (_sums(db, measure, span, kind) for measure in ("run", "queue"))
    return {
        name: {"run": percentiles(run[name]), "queue": percentiles(queue[name])}
        for name in kept
        if run[name] or queue[name]
    }


def percentiles(buckets: dict[int, int]) -> dict[str, Any]:
    """Return the number of durations in buckets, and their median and 95th percentile (seconds).

    Each is the middle of its bucket, so within a tenth of the real one.
    """
    count = sum(buckets.values())
    result: dict[str, Any] = {"count": count, "p50": None, "p95": None}
    seen = 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        for name, share in (("p50", 50), ("p95", 95)):
            if result[name] is None and seen * 100 >= count * share:
                result[name] = _middle(bucket)
    return result


def _middle(bucket: int) -> float:
    if bucket == 0:
        return 0.0
    return float(f"{BUCKETS[min(bucket, len(BUCKETS) - 1)] / 2**0.125:.3g}")


def _by_time(
    db: apsw.Connection, span: tuple[int, int, int], kind: str | None
) -> list[tuple[int, dict[str, Any]]]:
    """Return the counts by day or hour, oldest first; of the days, the newest that have data."""
    found: dict[int, dict[str, Any]] = {}
    jobs = ("status", _ANY_KIND) if kind is None else ("kind", kind)
    for measure, of_kind in (jobs, ("alert", _ANY_KIND), ("file", _ANY_KIND)):
        seen: set[int] = set()
        for start, key, count in db.execute(_SQL["newest"], (measure, *span, of_kind)):
            seen.add(start)
            if len(seen) > DAYS_MAX:
                break
            counts = found.setdefault(start, {"jobs": 0, "alerts": 0, "files": 0, "by_status": {}})
            if measure in ("alert", "file"):
                counts[f"{measure}s"] += count
            else:
                counts["jobs"] += count
                counts["by_status"][key] = count
    return [(start, found[start]) for start in sorted(found)[-DAYS_MAX:]]


def day_text(day: int) -> str:
    """Return the date of a day that is numbered since 1970."""
    return format_timestamp(day * DAY)[:10]
