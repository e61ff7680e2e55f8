"""The tasks of flowlord: which jobs they are, every filter, late messages, the plans."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from feeds import SECOND, START, MemoryFeed, built, dump, everything, views_of

from daemon.intake.formats import FORMATS
from daemon.intake.message import Options
from projections.tasks import TaskFilter
from projections.views import Views

RESULTS = ["complete", "warn", "error", "alert", ""]


def add_message(feed: MemoryFeed, **fields: str) -> None:
    """Append the events of a task message that are new, as the log would."""
    known = {(event.source, event.id) for event in feed.events}
    for event in FORMATS["flowlord-task"].decode(fields, Options()):
        if (event.source, event.id) not in known:
            at = None if event.time is None else (event.time - START) / SECOND
            extensions = event.extensions or {}
            feed.add(
                event.type, event.subject, orjson.loads(event.data), at=at, id=event.id,
                source=event.source, **extensions,
            )  # fmt: skip


def message(number: int, result: str, **more: str) -> dict[str, str]:
    """Return a message about one of a few kinds of tasks, created in a minute of its own."""
    said = {
        "type": ["load", "trans:form"][number % 2],
        "job": ["", "daily", "hourly"][number % 3],
        "info": "?day=2026-02-01",
        "id": f"run-{number // 4}",
        "created": f"2026-02-02T{number // 60:02}:{number % 60:02}:00Z",
        "meta": f"workflow=a/b.toml&n={number}",
    }
    if result:
        said |= {
            "result": result,
            "msg": f"said {number}",
            "started": said["created"].replace(":00Z", ":05Z"),
            "ended": said["created"].replace(":00Z", ":25Z"),
        }
    return {name: value for name, value in (said | more).items() if value}


@pytest.fixture(scope="module")
def told() -> list[dict[str, str]]:
    """Return 150 messages with every result."""
    chance = random.Random(3)
    return [message(number, chance.choice(RESULTS)) for number in range(150)]


@pytest.fixture(scope="module")
def views(told: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Views]:
    """Return the views of a log of those tasks, among jobs of others."""
    feed = MemoryFeed()
    for number, each in enumerate(told):
        add_message(feed, **each)
        feed.add("job.submitted", f"other-{number}", {"kind": "load", "phase": "load"})
    with views_of(tmp_path_factory.mktemp("tasks"), feed) as views:
        yield views


FILTERS = [
    TaskFilter(),
    TaskFilter(type="load"),
    TaskFilter(job="hourly"),
    TaskFilter(id="run-3"),
    TaskFilter(results=["error", "alert"]),
    TaskFilter(results=["running"]),
    TaskFilter(type="trans:form", job="daily", results=["complete", "running"]),
]
RANGE = {"since": START - 3600 * SECOND, "until": START}


@pytest.mark.parametrize("wanted", [*FILTERS, *(replace(each, **RANGE) for each in FILTERS)])
def test_a_list_shows_what_it_should_in_order(
    views: Views, told: list[dict[str, str]], wanted: TaskFilter
) -> None:
    """Every filter, page by page, against a plain search; jobs of others are no tasks."""
    expected = [
        each["meta"]
        for each in reversed(told)
        if wanted.type in (None, each["type"])
        and wanted.job in (None, each.get("job"))
        and wanted.id in (None, each["id"])
        and (not wanted.results or each.get("result", "running") in wanted.results)
        and (wanted.since is None or each["created"] >= "2026-02-02T01:40:00Z")
    ]
    items = everything(lambda cursor: views.list_tasks(wanted, 7, cursor))
    assert [item["meta"] for item in items] == expected


def shown_task(folder: Path, feed: MemoryFeed) -> dict[str, Any]:
    """Return the one task of a log."""
    with views_of(folder, feed) as views:
        (item,) = views.list_tasks().items
        return item


def test_a_task_is_shown_as_its_messages_have_it(tmp_path: Path) -> None:
    """All fields of the message come back as they were, with what is worked out of them."""
    feed = MemoryFeed()
    said = message(1, "error", meta="cron=2026-02-01T00&retry=2&workflow=a%2Fb.toml")
    add_message(feed, **said)
    item = shown_task(tmp_path, feed)
    assert {name: item[name] for name in said} == said
    assert (item["attempt"], item["queue_seconds"], item["task_seconds"]) == (3, 5.0, 20.0)
    assert item["job_id"] == feed.events[0].subject


def test_a_late_message_changes_nothing(tmp_path: Path) -> None:
    """The to-do message after the done one: the result and the done one's meta stay."""
    feed = MemoryFeed()
    add_message(feed, **message(1, "complete", meta="file=x&workflow=w"))
    add_message(feed, **message(1, "", meta="workflow=w"))
    item = shown_task(tmp_path, feed)
    assert (item["result"], item["meta"]) == ("complete", "file=x&workflow=w")


def test_a_time_that_cannot_be_read_is_shown_as_it_came(tmp_path: Path) -> None:
    """A task without a readable creation time is listed, by when it was recorded."""
    feed = MemoryFeed()
    add_message(feed, **message(1, "", created="soon"))
    assert shown_task(tmp_path, feed)["created"] == "soon"


def test_rows_are_the_same_event_by_event_and_by_whole_streams(
    tmp_path: Path, told: list[dict[str, str]]
) -> None:
    """A task's row does not depend on how its events come: the to-do messages come last here."""
    feed = MemoryFeed()
    for each in told[:40]:
        add_message(feed, **each)
    for each in told[:40]:
        left_out = ("result", "msg", "ended", "started")
        add_message(feed, **{name: each[name] for name in each if name not in left_out})
    whole, split = tmp_path / "whole.db", tmp_path / "split.db"
    built(whole, feed)
    built(split, feed, build_events=1)
    assert dump(split) == dump(whole)
