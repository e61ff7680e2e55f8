"""What purged entities leave in the summary: counts by day.

A tombstone says what its entity added to the counts. Of these the days and the sum of all time are
kept, not the hours: for once tombstones are old, one event a day takes over what they say, and it
knows no hours. It says how many all purges up to it add, so who has counted them already adds
nothing, and who meets the event without the tombstones adds what is missing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from domain.events import RecordedEvent
from domain.timestamps import MICROSECONDS, parse_timestamp

SUMMARISED: Final = "log.summarised"
"""The type of the events that take over what tombstones say."""

Counted: TypeAlias = tuple[int, str, str, str | int]
"""The key of a count: day, measure, kind and key."""

_DAY_HOURS: Final = 24
_DAY: Final = _DAY_HOURS * 3_600 * MICROSECONDS
_ANY_KIND: Final = ""


def day_counts(type_: str, summary: Mapping[str, Any]) -> Iterator[tuple[Counted, int]]:
    """Yield what an entity added to the counts, as a marker of this type says in its summary."""
    said = summary.get
    for its_hour, number in said("hours") or ():
        yield (its_hour // _DAY_HOURS, "file", _ANY_KIND, "observed"), number
    hour = said("hour")
    if hour is None:
        return
    day = hour // _DAY_HOURS
    if type_ == "alert.purged":
        yield (day, "alert", _ANY_KIND, said("state") or "open"), 1
        return
    kind, status = said("kind") or _ANY_KIND, said("status") or "submitted"
    yield (day, "status", _ANY_KIND, status), 1
    yield (day, "kind", kind, status), 1
    for measure in ("run", "queue"):
        bucket = said(measure)
        if bucket is not None:
            yield (day, measure, kind, bucket), 1


def taken_over(event: RecordedEvent) -> Iterator[tuple[Counted, int, int]]:
    """Yield each count of a day with how many all purges add, and how many of those are gone."""
    day = event.payload.get("day")
    if day is not None:
        number = parse_timestamp(f"{day}T00:00:00Z") // _DAY
        for measure, kind, key, total, gone in event.payload.get("sums") or ():
            yield (number, measure, kind, key), total, gone


def counts_of_whole(events: Iterable[RecordedEvent]) -> dict[Counted, int]:
    """Return the counts of all tombstones, and of the last event that took over of each stream."""
    counts: defaultdict[Counted, int] = defaultdict(int)
    for event in events:
        if event.type == SUMMARISED:
            for counted, _, gone in taken_over(event):
                counts[counted] += gone
        else:
            for counted, number in day_counts(event.type, event.payload.get("summary") or {}):
                counts[counted] += number
    return {counted: number for counted, number in counts.items() if number}
