"""Logs whose entities are archived and purged, and what is left of them in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import orjson
from feeds import SECOND, MemoryFeed
from hypothesis import strategies as st
from test_row_equality import SUBJECTS, TYPES, events

from domain.alert import fold_alert
from domain.events import RecordedEvent
from domain.job import fold_job, row_of
from domain.lives import is_tombstone, last_life, replaced_versions
from domain.timestamps import format_timestamp
from projections.purged import SUMMARISED, Counted, day_counts, taken_over
from projections.summary import alert_summary, file_summary, job_summary
from projections.tasks import task_of

Step: TypeAlias = Callable[[MemoryFeed], object]
"""Adds something to a log."""

HOUSEKEEPING = ("maintenance.finished", "log.truncated", "policy.changed")


class RemovedFeed(MemoryFeed):
    """A log whose replaced events can be removed: positions, versions and digests stay."""

    def __init__(self) -> None:
        super().__init__()
        self.chain: dict[int, bytes] = {}
        self.gone: set[int] = set()

    def append(self, event: RecordedEvent) -> None:
        """Append an event as it is."""
        super().append(event)
        self.chain[event.position] = self.digests[-1]

    def digest_at(self, position: int) -> bytes | None:
        """Return the digest as of a position, also where its event is gone."""
        return self.chain.get(position)

    def remove(self) -> None:
        """Remove the events that markers stand for; the markers of purges stay."""
        replaced: dict[str, int] = {}
        for event in self.events:
            version = replaced_versions(event.type, event.payload)
            replaced[event.stream] = max(replaced.get(event.stream, 0), version)
        kept = [
            (event, digest)
            for event, digest in zip(self.events, self.digests, strict=True)
            if event.position not in self.gone
            and (event.version > replaced[event.stream] or is_tombstone(event))
        ]
        self.events = [event for event, _ in kept]
        self.digests = [digest for _, digest in kept]

    def stream(self, name: str) -> Sequence[RecordedEvent]:
        """Return all events of a stream."""
        return self.read_stream(name, limit=len(self.events))

    def take_over(self) -> None:
        """Have the oldest tombstones taken over, each day's by one event; a few are left."""
        tombstones = [each for each in self.events if is_tombstone(each)]
        going = {each.position for each in tombstones[: len(tombstones) // 2 + 1]}
        all_, gone = Counter[Counted](), Counter[Counted]()
        for event in tombstones:
            for counted, number in day_counts(event.type, event.payload.get("summary", {})):
                all_[counted] += number
                gone[counted] += number * (event.position in going)
        before = {each.stream: each for each in self.events if each.type == SUMMARISED}
        for event in before.values():
            for counted, _, number in taken_over(event):
                all_[counted] += number
                gone[counted] += number
        for day in sorted({counted[0] for counted in all_}):
            text = format_timestamp(day * 86_400 * SECOND)[:10]
            sums = [[*each[1:], all_[each], gone[each]] for each in all_ if each[0] == day]
            self.add(SUMMARISED, f"log-1/day/{text}", {"day": text, "sums": sums})
        self.gone |= going | {each.position for each in before.values()}

    def mark(self, type_: str, subject: str, at: float | None = None) -> RecordedEvent | None:
        """Append the marker of an entity, where there is one."""
        category, _, verb = type_.partition(".")
        told = self.stream(f"{category}/{subject}")
        if not last_life(told):
            return None
        payload: dict[str, Any] = {"replaces": told[-1].version, "rule": "r"}
        if verb == "archived":
            payload |= {"row": row_of(fold_job(None, told)), "task": task_of(told)}
        elif category == "job":
            payload["summary"] = job_summary(fold_job(None, told))
        elif category == "alert":
            payload["summary"] = alert_summary(fold_alert(None, told))
        else:
            payload["summary"] = file_summary(told)
        return self.add(type_, subject, orjson.loads(orjson.dumps(payload)), at=at)


def copy_of(feed: RemovedFeed, *, removed: bool = False) -> RemovedFeed:
    """Return a log of the same events, or of those that are left of them."""
    copied = RemovedFeed()
    copied.events, copied.digests = list(feed.events), list(feed.digests)
    copied.chain, copied.gone = feed.chain, feed.gone
    if removed:
        copied.remove()
    return copied


@st.composite
def steps(draw: st.DrawFn, subjects: Sequence[str] = SUBJECTS, *, taken_over: bool = False) -> Step:
    """Draw an event, or a marker of an entity."""
    others = ["archive", "purge", "purge", "housekeeping"] + ["take over"] * taken_over
    kind = draw(st.sampled_from(["event"] * 6 + others))
    subject = draw(st.sampled_from(subjects))
    if kind == "archive":
        at = draw(st.none() | st.integers(-5, 100))
        return lambda feed: feed.mark("job.archived", subject, at)  # type: ignore[attr-defined]
    if kind == "purge":
        type_ = draw(st.sampled_from(["job.purged", "job.purged", "alert.purged", "file.purged"]))
        return lambda feed: feed.mark(type_, subject)  # type: ignore[attr-defined]
    if kind == "take over":
        return lambda feed: feed.take_over()  # type: ignore[attr-defined]
    if kind == "housekeeping":
        type_ = draw(st.sampled_from(HOUSEKEEPING))
        return lambda feed: feed.add(type_, "x", {}, causationid="e1", correlationid="run-1")
    type_, subject, payload, at, extensions = draw(events(TYPES, subjects))
    return lambda feed: feed.add(type_, subject, payload, at=at, **extensions)


def log_of(drawn: Sequence[Step]) -> RemovedFeed:
    """Return a log of drawn events and markers."""
    feed = RemovedFeed()
    for step in drawn:
        step(feed)
    return feed


def logs(
    most: int = 40, subjects: Sequence[str] = SUBJECTS, *, taken_over: bool = True
) -> st.SearchStrategy[RemovedFeed]:
    """Return a strategy for logs with lives that end; tombstones may be taken over.

    In a real log these are gone then: it says it once.
    """
    each = steps(subjects, taken_over=taken_over)
    return st.lists(each, min_size=1, max_size=most).map(log_of)
